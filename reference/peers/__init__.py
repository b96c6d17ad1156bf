"""The parts of compare_peers.py: only the standard library, but for the *_peer modules, which run in worker processes."""
