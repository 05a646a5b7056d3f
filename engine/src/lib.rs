//! LiveKit data streams as state machines: no sockets, no clock, no tasks.
