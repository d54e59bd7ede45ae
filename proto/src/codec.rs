//! [`Codec`], the codec of the generated services. A server keeps the encoded request of a call beside the decoded
//! message: a decoded message loses the fields unknown to this version, and a server must not drop such fields when
//! forwarding the call. [`Encoded`] is the codec of a client sending an encoded request.

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use std::{cell::RefCell, future::Future, marker::PhantomData};
use tonic::{
    Status,
    codec::{Codec as TonicCodec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};
use tonic_prost::{ProstDecoder, ProstEncoder};

tokio::task_local! {
    static RECEIVED: RefCell<Option<Bytes>>;
}

/// Runs the handler of a call, and makes the encoded request available as [`received`] within the handler.
pub async fn with_received<F: Future>(handler: F) -> F::Output {
    RECEIVED.scope(RefCell::new(None), handler).await
}

/// Returns the first message decoded within [`with_received`], the request; `None` outside of [`with_received`]. The
/// bytes share memory with the fields of the decoded message.
#[must_use]
pub fn received() -> Option<Bytes> {
    RECEIVED.try_with(|bytes| bytes.borrow().clone()).ok().flatten()
}

/// The codec of the generated services: prost messages, with [`received`].
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> TonicCodec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = KeepingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        KeepingDecoder(PhantomData)
    }
}

/// The decoder of [`Codec`].
#[derive(Debug)]
pub struct KeepingDecoder<U>(PhantomData<U>);

impl<U: Message + Default> Decoder for KeepingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // Takes the bytes out of the receive buffer without a copy.
        let bytes = source.copy_to_bytes(source.remaining());
        // Outside of a handler, and for the messages received by a handler from a peer, nothing is kept.
        let _outside = RECEIVED.try_with(|kept| {
            kept.borrow_mut().get_or_insert_with(|| bytes.clone());
        });
        U::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// The codec of a client sending encoded requests and decoding responses.
#[derive(Clone, Debug)]
pub struct Encoded<U>(PhantomData<U>);

impl<U> Default for Encoded<U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<U: Message + Default + Send + 'static> TonicCodec for Encoded<U> {
    type Encode = Bytes;
    type Decode = U;
    type Encoder = BytesEncoder;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        BytesEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::default()
    }
}

/// The encoder of [`Encoded`].
#[derive(Debug)]
pub struct BytesEncoder;

impl Encoder for BytesEncoder {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(message);
        Ok(())
    }
}
