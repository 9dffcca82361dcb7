//! JSON pointers (RFC 6901), built on the way down without allocation.

use std::fmt;

/// Longest field name that a pointer repeats, bytes: an error must not grow with the message.
const NAME_BYTES_MAX: usize = 64;

/// Where a value stands.
pub(super) enum Pointer<'a> {
    /// The whole document.
    Root,
    /// A field of an object.
    Field(&'a Pointer<'a>, &'a str),
    /// An element of an array.
    Element(&'a Pointer<'a>, usize),
}

impl Pointer<'_> {
    pub(super) fn field<'a>(&'a self, name: &'a str) -> Pointer<'a> {
        Pointer::Field(self, name)
    }

    pub(super) fn element(&self, at: usize) -> Pointer<'_> {
        Pointer::Element(self, at)
    }
}

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Element(parent, at) => write!(f, "{parent}/{at}"),
            // A name that is too long is left out: the pointer then names the object that holds it.
            Self::Field(parent, name) if name.len() > NAME_BYTES_MAX => parent.fmt(f),
            Self::Field(parent, name) => write!(f, "{parent}/{}", name.replace('~', "~0").replace('/', "~1")),
        }
    }
}
