//! LiveKit data streams without libwebrtc: text, files and live bytes between the participants of a room.
