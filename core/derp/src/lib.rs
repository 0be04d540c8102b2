//! DERP frames, the relay as a state machine without IO, and STUN.
