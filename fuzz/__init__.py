"""
Attack the parsers and the state machines with octets that no legitimate peer sends.

    python -m fuzz --executions 100000 [target...]

A target (L{fuzz.targets}) is a function of octets that raises if a promise is broken.
L{fuzz.execute} runs one target in its own process under atheris, which observes the
code that an input reaches; L{fuzz.__main__} runs the targets and counts. Findings are
kept in C{tests/corpus/}, and C{tests/test_corpus.py} runs them again without atheris.
Needed: C{pip install '.[fuzz]'}.
"""
