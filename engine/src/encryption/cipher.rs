//! Encrypts and decrypts the value of a packet, for every kind of value that may be encrypted.

use bytes::Bytes;
use lkstream_proto::id::Identity;
use lkstream_proto::packet::{
    DataPacket, EncryptedPacket, EncryptedPayload, EncryptedValue, Value,
};

use super::seal::{DecryptError, Sealer, TAG_BYTES, open};
use super::{Keyring, Plaintext};

/// The encryption of one engine.
#[derive(Debug)]
pub(crate) struct Cipher {
    pub(crate) keyring: Keyring,
    sealer: Sealer,
}

impl Cipher {
    /// `random` makes its initialisation vectors differ from everybody else's.
    pub(crate) fn new(keyring: Keyring, random: u64) -> Cipher {
        Cipher {
            keyring,
            sealer: Sealer::new(random),
        }
    }

    /// What `identity` sealed; `None` for a value newer than this library.
    pub(crate) fn open(
        &mut self,
        identity: &str,
        packet: &EncryptedPacket,
    ) -> Result<Option<Value>, DecryptError> {
        let payload = open(&mut self.keyring, identity, packet)?;
        let payload = EncryptedPayload::from_bytes(payload).map_err(|_| DecryptError::Malformed)?;
        Ok(payload.value.map(opened))
    }

    /// Whether a value that came in the clear is refused. Kinds that nobody encrypts are not.
    pub(crate) fn refuses(&self, value: &Value) -> bool {
        let stays_clear = matches!(
            value,
            Value::Speaker(_) | Value::SipDtmf(_) | Value::Transcription(_) | Value::Metrics(_)
        );
        self.refuses_plaintext() && !stays_clear
    }

    /// Whether what somebody would encrypt is refused in the clear.
    pub(crate) fn refuses_plaintext(&self) -> bool {
        self.keyring.plaintext() == Plaintext::Refuse
    }
}

/// A cipher, and the identity whose packets it seals.
pub(crate) struct Seal<'a> {
    pub(crate) cipher: &'a mut Cipher,
    pub(crate) identity: &'a Identity,
}

impl Seal<'_> {
    pub(crate) fn has_key(&self) -> bool {
        self.cipher.keyring.can_seal(self.identity)
    }

    /// The packet with its value sealed, where that kind of value can be (protocol.md §5.8). What
    /// should be sealed and cannot goes out without its value: nothing leaves in the clear by
    /// mistake.
    fn protect(&mut self, mut packet: DataPacket) -> DataPacket {
        packet.value = match packet.value.take().map(sealable) {
            Some(Ok(value)) => {
                let payload = EncryptedPayload { value: Some(value) }.to_vec(TAG_BYTES);
                let Cipher { keyring, sealer } = &mut *self.cipher;
                let sealed = sealer.seal(keyring, self.identity, payload);
                sealed.map(Value::Encrypted)
            }
            Some(Err(clear)) => Some(*clear),
            None => None,
        };
        packet
    }
}

/// A packet's bytes, sealed if there is something to seal it with.
pub(crate) fn encode(packet: DataPacket, seal: Option<&mut Seal<'_>>) -> Bytes {
    match seal {
        Some(seal) => seal.protect(packet).to_bytes(),
        None => packet.to_bytes(),
    }
}

fn sealable(value: Value) -> Result<EncryptedValue, Box<Value>> {
    Ok(match value {
        Value::User(user) => EncryptedValue::User(user),
        Value::ChatMessage(message) => EncryptedValue::ChatMessage(message),
        Value::RpcRequest(request) => EncryptedValue::RpcRequest(request),
        Value::RpcAck(ack) => EncryptedValue::RpcAck(ack),
        Value::RpcResponse(response) => EncryptedValue::RpcResponse(response),
        Value::StreamHeader(header) => EncryptedValue::StreamHeader(header),
        Value::StreamChunk(chunk) => EncryptedValue::StreamChunk(chunk),
        Value::StreamTrailer(trailer) => EncryptedValue::StreamTrailer(trailer),
        other => return Err(Box::new(other)),
    })
}

fn opened(value: EncryptedValue) -> Value {
    match value {
        EncryptedValue::User(user) => Value::User(user),
        EncryptedValue::ChatMessage(message) => Value::ChatMessage(message),
        EncryptedValue::RpcRequest(request) => Value::RpcRequest(request),
        EncryptedValue::RpcAck(ack) => Value::RpcAck(ack),
        EncryptedValue::RpcResponse(response) => Value::RpcResponse(response),
        EncryptedValue::StreamHeader(header) => Value::StreamHeader(header),
        EncryptedValue::StreamChunk(chunk) => Value::StreamChunk(chunk),
        EncryptedValue::StreamTrailer(trailer) => Value::StreamTrailer(trailer),
    }
}
