//! One peer connection that carries data channels: SDP, ICE, DTLS, SCTP, DCEP, without I/O.
