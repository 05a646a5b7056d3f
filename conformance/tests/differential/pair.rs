//! One message in two schemas, made from the same random fields.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;

use bytes::Bytes;
use lkstream_conformance::wire::Random;
use prost::Message;

/// The same value in the official types and in ours.
#[derive(Debug, Clone)]
pub(crate) struct Pair<A, B> {
    pub(crate) official: A,
    pub(crate) ours: B,
}

impl<A, B> Pair<A, B> {
    pub(crate) fn new(official: A, ours: B) -> Self {
        Pair { official, ours }
    }

    pub(crate) fn map<C, D>(
        self,
        official: impl FnOnce(A) -> C,
        ours: impl FnOnce(B) -> D,
    ) -> Pair<C, D> {
        Pair::new(official(self.official), ours(self.ours))
    }
}

/// What a field becomes on the official side.
pub(crate) trait Official<T> {
    fn official(&self) -> T;
}

/// What a field becomes on our side.
pub(crate) trait Ours<T> {
    fn ours(&self) -> T;
}

macro_rules! plain {
    ($($type:ty),* $(,)?) => {$(
        impl Official<$type> for $type {
            fn official(&self) -> $type { self.clone() }
        }
        impl Ours<$type> for $type {
            fn ours(&self) -> $type { self.clone() }
        }
    )*};
}

plain!(
    bool,
    i32,
    i64,
    u32,
    u64,
    String,
    Vec<String>,
    Vec<i32>,
    Vec<u8>,
    Option<u64>,
    Option<i64>,
    Option<String>,
    Option<Vec<u8>>,
);

impl Ours<Bytes> for Vec<u8> {
    fn ours(&self) -> Bytes {
        Bytes::from(self.clone())
    }
}

impl Ours<Option<Bytes>> for Option<Vec<u8>> {
    fn ours(&self) -> Option<Bytes> {
        self.clone().map(Bytes::from)
    }
}

/// Attributes: the schemas choose different maps.
pub(crate) type Map = BTreeMap<String, String>;

impl Official<HashMap<String, String>> for Map {
    fn official(&self) -> HashMap<String, String> {
        self.clone().into_iter().collect()
    }
}

impl Ours<Map> for Map {
    fn ours(&self) -> Map {
        self.clone()
    }
}

impl<A: Clone, B> Official<Option<A>> for Option<Pair<A, B>> {
    fn official(&self) -> Option<A> {
        self.as_ref().map(|pair| pair.official.clone())
    }
}

impl<A, B: Clone> Ours<Option<B>> for Option<Pair<A, B>> {
    fn ours(&self) -> Option<B> {
        self.as_ref().map(|pair| pair.ours.clone())
    }
}

impl<A: Clone, B> Official<Vec<A>> for Vec<Pair<A, B>> {
    fn official(&self) -> Vec<A> {
        self.iter().map(|pair| pair.official.clone()).collect()
    }
}

impl<A, B: Clone> Ours<Vec<B>> for Vec<Pair<A, B>> {
    fn ours(&self) -> Vec<B> {
        self.iter().map(|pair| pair.ours.clone()).collect()
    }
}

/// A struct of the same field names in both schemas; what ours leaves out is default in theirs. A field that is called
/// differently over there is written `theirs = ours: value`.
macro_rules! both {
    (
        $($official:ident)::+,
        $($ours:ident)::+ { $($field:ident $(= $own:ident)? : $value:expr),* $(,)? }
    ) => {{
        $(let $field = $value;)*
        #[allow(clippy::needless_update)]
        let official = $($official)::+ {
            $($field: $crate::pair::Official::official(&$field),)*
            ..Default::default()
        };
        let ours = both!(@ours [$($ours)::+] {} $($field $(= $own)?,)*);
        $crate::pair::Pair::new(official, ours)
    }};
    (@ours [$($ours:ident)::+] { $($done:tt)* }) => { $($ours)::+ { $($done)* } };
    (@ours [$($ours:ident)::+] { $($done:tt)* } $field:ident = $own:ident, $($rest:tt)*) => {
        both!(
            @ours [$($ours)::+]
            { $($done)* $own: $crate::pair::Ours::ours(&$field), }
            $($rest)*
        )
    };
    (@ours [$($ours:ident)::+] { $($done:tt)* } $field:ident, $($rest:tt)*) => {
        both!(
            @ours [$($ours)::+]
            { $($done)* $field: $crate::pair::Ours::ours(&$field), }
            $($rest)*
        )
    };
}

pub(crate) use both;

/// Draws field values; often the default, which proto3 does not write.
pub(crate) struct Draw {
    random: Random,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Draw {
        Draw {
            random: Random::new(seed),
        }
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.random.happens(0.5)
    }

    pub(crate) fn text(&mut self) -> String {
        let length = self.below(12);
        (0..length)
            .map(|_| ['a', 'Z', '0', '_', '/', 'é', '€', '😀'][self.below(8) as usize])
            .collect()
    }

    pub(crate) fn blob(&mut self) -> Vec<u8> {
        let length = match self.below(8) {
            0 => 0,
            1 => 15_000,
            _ => self.below(300),
        };
        self.random.bytes(length as usize)
    }

    pub(crate) fn unsigned(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => self.below(200),
            2 => u64::MAX,
            _ => self.random.draw(),
        }
    }

    pub(crate) fn signed(&mut self) -> i64 {
        self.unsigned() as i64
    }

    pub(crate) fn small(&mut self) -> u32 {
        self.unsigned() as u32
    }

    pub(crate) fn int(&mut self) -> i32 {
        self.unsigned() as i32
    }

    /// A number of an enumeration, sometimes one that is not in it.
    pub(crate) fn variant(&mut self, count: u64) -> i32 {
        self.below(count + 1) as i32
    }

    pub(crate) fn map(&mut self) -> Map {
        (0..self.below(4))
            .map(|_| (self.text(), self.text()))
            .collect()
    }

    pub(crate) fn maybe<T>(&mut self, make: impl FnOnce(&mut Draw) -> T) -> Option<T> {
        self.flag().then(|| make(self))
    }

    pub(crate) fn some<T>(&mut self, mut make: impl FnMut(&mut Draw) -> T) -> Vec<T> {
        (0..self.below(4)).map(|_| make(self)).collect()
    }
}

/// Checks that both schemas write bytes which the other reads as the same value.
pub(crate) fn check<A, B>(seed: u64, pair: &Pair<A, B>)
where
    A: Message + Default + PartialEq + Debug,
    B: Message + Default + PartialEq + Debug,
{
    let theirs = Bytes::from(pair.official.encode_to_vec());
    let own = Bytes::from(pair.ours.encode_to_vec());
    assert_eq!(
        B::decode(theirs).as_ref(),
        Ok(&pair.ours),
        "ours reads theirs, seed {seed}"
    );
    assert_eq!(
        A::decode(own).as_ref(),
        Ok(&pair.official),
        "theirs reads ours, seed {seed}"
    );
}
