//! To whom something is sent.

use lkstream_proto::id::Identity;

use crate::Participant;

/// One or more participants that something is sent to.
///
/// ```
/// # use lkstream::DataOptions;
/// let one = DataOptions::new().to("bob");
/// let two = DataOptions::new().to(["bob", "carol"]);
/// let named: Vec<String> = vec!["bob".into()];
/// let some = DataOptions::new().to(&named[..]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recipients(Vec<Identity>);

impl IntoIterator for Recipients {
    type Item = Identity;
    type IntoIter = std::vec::IntoIter<Identity>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<T: Into<Identity>> FromIterator<T> for Recipients {
    fn from_iter<I: IntoIterator<Item = T>>(identities: I) -> Self {
        Recipients(identities.into_iter().map(Into::into).collect())
    }
}

macro_rules! from_one {
    ($($one:ty),+) => {
        $(impl From<$one> for Recipients {
            fn from(identity: $one) -> Self {
                Recipients(vec![identity.into()])
            }
        })+
    };
}

from_one!(&str, String, &String, Identity, &Identity);

impl From<&Participant> for Recipients {
    fn from(participant: &Participant) -> Self {
        Recipients(vec![participant.identity().clone()])
    }
}

impl<T: Into<Identity>, const N: usize> From<[T; N]> for Recipients {
    fn from(identities: [T; N]) -> Self {
        identities.into_iter().collect()
    }
}

impl<T: Into<Identity>> From<Vec<T>> for Recipients {
    fn from(identities: Vec<T>) -> Self {
        identities.into_iter().collect()
    }
}

impl<T: AsRef<str>> From<&[T]> for Recipients {
    fn from(identities: &[T]) -> Self {
        identities.iter().map(AsRef::as_ref).collect()
    }
}
