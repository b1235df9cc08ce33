//! Examples and properties of content.
