//! What travels over HTTP/1 connections, and what does not?

mod keep;
