The listener takes what a receive brings in one piece, and does not ask TLS for what cannot be there.
A lone line waits for no commit spacing: half the delay at a hundred lines a second. The journal's
pages are of 32 KiB: a lone line writes half as much.
