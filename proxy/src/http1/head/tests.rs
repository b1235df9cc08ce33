//! Examples and properties of heads.
