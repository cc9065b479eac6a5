"""Evidence about paired differences that may be looked at at any time: pure functions, numpy only."""
