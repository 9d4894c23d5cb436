//! The backends of a model: groups of replicas in order of preference.

use std::{fmt, slice};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{SeqAccess, Visitor, value::SeqAccessDeserializer},
};

/// Backends that are used as equals, in settings one name or a list of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replicas(Vec<String>);

impl Replicas {
    /// Returns the names of the backends.
    pub fn names(&self) -> slice::Iter<'_, String> {
        self.0.iter()
    }
}

impl From<Vec<String>> for Replicas {
    fn from(names: Vec<String>) -> Self {
        Self(names)
    }
}

impl From<&str> for Replicas {
    fn from(name: &str) -> Self {
        Self(vec![name.to_owned()])
    }
}

impl Serialize for Replicas {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [name] => serializer.serialize_str(name),
            names => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Replicas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = Replicas;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a backend or a list of names")
            }

            fn visit_str<E>(self, name: &str) -> Result<Replicas, E> {
                Ok(Replicas::from(name))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, names: A) -> Result<Replicas, A::Error> {
                Deserialize::deserialize(SeqAccessDeserializer::new(names)).map(Replicas)
            }
        }
        deserializer.deserialize_any(Names)
    }
}

/// How the calls of a model are divided among replicas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Each call goes to the replica that is expected to answer it first; weights are shares while there is room.
    #[default]
    LeastLoaded,
    /// Each call is drawn by weight, whatever the load; for a new version that is to get a fixed share.
    Weighted,
}

/// The calls that stay with one replica while it can serve them as soon as the others, because it has cached their
/// beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Affinity {
    /// None.
    #[default]
    None,
    /// Those of a session.
    Session,
    /// Those whose prompts begin alike.
    Prefix,
}
