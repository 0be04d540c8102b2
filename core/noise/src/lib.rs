//! TS2021: the Noise IK handshake and record framing, both roles, bytes in and bytes out.
