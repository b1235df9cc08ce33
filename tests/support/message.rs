//! What did a well-behaved peer say? One HTTP/1.1 message at a time, read by the book and not by our own codec.

use std::io::{self, BufRead, Read, Write};

/// A request or a response.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// Its first line.
    pub start: String,
    /// Its fields, in order.
    pub fields: Vec<(String, String)>,
    /// Its content.
    pub body: Vec<u8>,
}

impl Message {
    /// A message without fields or content.
    pub fn new(start: impl Into<String>) -> Self {
        Self { start: start.into(), ..Self::default() }
    }

    /// The same with one more field.
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.fields.push((name.to_owned(), value.to_string()));
        self
    }

    /// The same with content, its length announced.
    pub fn with_body(self, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { body: body.clone(), ..self.with("content-length", body.len()) }
    }

    /// The values of a field, as one.
    pub fn field(&self, name: &str) -> Option<String> {
        let named =
            |(other, value): &(String, String)| other.eq_ignore_ascii_case(name).then(|| value.clone());
        let all: Vec<_> = self.fields.iter().filter_map(named).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// A response's status.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// A request's method.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// A request's target.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// What `x-outrigger-reason` says; nothing where nobody but the application spoke.
    pub fn reason(&self) -> String {
        self.field("x-outrigger-reason").unwrap_or_default()
    }

    /// Whether the sender announced the connection's end.
    pub fn closes(&self) -> bool {
        self.field("connection").is_some_and(|said| said.to_ascii_lowercase().contains("close"))
    }

    /// Writes it whole.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        let mut octets = format!("{}\r\n", self.start).into_bytes();
        for (name, value) in &self.fields {
            octets.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        octets.extend_from_slice(b"\r\n");
        octets.extend_from_slice(&self.body);
        to.write_all(&octets)
    }

    /// Reads the head; `None`: the peer ended before it.
    pub fn read_head(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let Some(start) = line(from)? else { return Ok(None) };
        let mut message = Self::new(start);
        loop {
            match line(from)? {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(line) if line.is_empty() => return Ok(Some(message)),
                Some(line) => {
                    let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
                    message.fields.push((name.to_owned(), value.trim().to_owned()));
                }
            }
        }
    }

    /// Reads the content that the head announced. A response without a length lasts until the connection's end.
    pub fn read_body(&mut self, from: &mut impl BufRead) -> io::Result<()> {
        if self.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            while self.read_chunk(from)? {}
        } else if let Some(length) = self.field("content-length") {
            let length: u64 = length.parse().map_err(|_| io::ErrorKind::InvalidData)?;
            let read = from.take(length).read_to_end(&mut self.body)?;
            if read as u64 != length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        } else if self.start.starts_with("HTTP/") {
            from.read_to_end(&mut self.body)?;
        }
        Ok(())
    }

    fn read_chunk(&mut self, from: &mut impl BufRead) -> io::Result<bool> {
        let size = line(from)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = u64::from_str_radix(&size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if size == 0 {
            while line(from)?.ok_or(io::ErrorKind::UnexpectedEof)? != "" {}
            return Ok(false);
        }
        let read = from.take(size).read_to_end(&mut self.body)?;
        if read as u64 != size || line(from)?.is_none_or(|end| !end.is_empty()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(true)
    }
}

/// One line without its end; `None`: nothing more comes.
fn line(from: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    line.strip_suffix("\r\n").map(|line| Some(line.to_owned())).ok_or(io::ErrorKind::UnexpectedEof.into())
}
