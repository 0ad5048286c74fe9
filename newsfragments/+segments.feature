The master writes the octets of bulk deliveries once before the output, not twice: 2.1 octets instead of 2.9 for each
octet of raw lines. They are in a new file beside the journal, ``listener.db-segments``, which belongs to the journal
when you move it or back it up. Earlier versions refuse the journal from then on.
