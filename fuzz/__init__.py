"""
Attack the parsers and the state machines with octets that nobody would send.

    python -m fuzz --executions 100000 [target...]

A target (L{fuzz.targets}) is a function of octets that raises if a promise is broken.
L{fuzz.execute} has atheris, which sees what code an input reaches, call one target in a
process of its own; L{fuzz.__main__} runs the targets and counts. What was found is kept in
C{tests/corpus/}, and C{tests/test_corpus.py} tries it again without atheris. Needed:
C{pip install '.[fuzz]'}.
"""
