//! What does a test say? Requests and answers of well-behaved peers, put together field by field.

use std::fmt::{Display, Write};

/// A message to be sent.
#[derive(Debug, Clone)]
pub struct Draft {
    /// Start line and fields.
    head: String,
    body: Vec<u8>,
}

impl Draft {
    /// With this field as well.
    pub fn with(mut self, name: &str, value: impl Display) -> Self {
        let _ = write!(self.head, "{name}: {value}\r\n");
        self
    }

    /// With this content, its length announced.
    pub fn with_body(self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { body: body.clone(), ..self.with("content-length", body.len()) }
    }

    /// On the wire.
    pub fn octets(&self) -> Vec<u8> {
        [self.head.as_bytes(), b"\r\n", &self.body].concat()
    }
}

/// A request without content.
pub fn ask(method: &str, target: &str, authority: &str) -> Draft {
    Draft { head: format!("{method} {target} HTTP/1.1\r\n"), body: Vec::new() }.with("host", authority)
}

/// A GET of `/`.
pub fn get(authority: &str) -> Draft {
    ask("GET", "/", authority)
}

/// A POST to `/`.
pub fn post(authority: &str, body: impl Into<Vec<u8>>) -> Draft {
    ask("POST", "/", authority).with_body(body)
}

/// An answer without content.
pub fn answer(status: u16) -> Draft {
    head(status).with_body("")
}

/// An answer that doesn't say how long it is yet.
pub fn head(status: u16) -> Draft {
    Draft { head: format!("HTTP/1.1 {status} -\r\n"), body: Vec::new() }
}
