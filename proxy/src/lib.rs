//! Outrigger: a sidecar proxy that keeps failure from spreading.
//!
//! One process beside one service takes its inbound and outbound traffic and gives every call a deadline, retries that
//! are paid for, load balancing that sees latency, and metrics, from YAML that it reloads while running.
//!
//! # The house
//!
//! ```text
//!               main
//!               cli      demo
//!              admin
//!               app                          builds every room, starts, reloads, drains
//!            downstream                      worker threads, listeners, connections
//!             pipeline                       what happens to one request
//!              worker                        what one thread owns
//!             snapshot                       the running configuration
//!         upstream   store                   endpoints, pools, discovery; breakers, ejection, checks; limits; what replicas share
//!   cache   http1   http2   reload           what others were answered; what is on the wire; where the policy comes from
//!  message  policy  telemetry  clock  tls    heads and content; decisions; counters and log; time; who is who
//!   ═══════ outrigger-config ═══════         YAML in, a checked model out
//! ```
//!
//! A room uses only what is below it (`tests/layers.rs` holds it to that). [`policy`] is pure: time and chance come in as
//! arguments, what happened goes out as a value.
//!
//! # A request, in a straight line
//!
//! 1. [`downstream`]: a worker accepts the connection; where rules redirected it, the kernel tells where it was meant to go
//!    ([`downstream::original_dst`]), which decides on the inbound port, or on the upstream where no authority does. It lives and dies on that thread, and so do the upstream
//!    connections it uses. Where the port asks for it, a handshake of [`tls`] proves who calls. A head is read and checked by [`http1`] or [`http2`], and is a [`message`] from there on.
//! 2. [`pipeline::handle`] takes one [`snapshot`] and holds it to the end of the request.
//! 3. [`policy::path`] brings the path into its one form, if any rule looks at it. None: 400.
//!    [`policy::router`] finds the rule, [`policy::weights`] the backend. None: 404. [`policy::authz`]: may it? No: 403.
//! 4. [`policy::deadline`]: what the policy allows, clipped by what the caller said. Over: 504.
//!    Then [`snapshot::limiter`]: rates, callers, and places under load. Over: 429 or 503.
//!    [`cache`]: what others were answered, where an upstream's policy keeps it; who misses at once waits for one fetch.
//! 5. A place among the upstream's requests ([`upstream::bulkhead`]), then an attempt: [`upstream`] picks an endpoint, as far
//!    as breakers and health allow (else 503), and lends a connection, the head is written anew, content streams while the
//!    answer is awaited.
//! 6. How it went is reported to those who learn from it ([`upstream::guard`]). [`policy::retry`] decides on what
//!    follows, [`policy::budget`] whether it is paid for; when nothing does, the rule's
//!    [chain](snapshot::stand_in::Chain) of fallbacks is gone along, within the same deadline.
//! 7. The answer streams back; its last octet closes metrics, log and load.
//!
//! # A reload
//!
//! [`reload`] notices that the files differ, `outrigger_config::parse` reads all of them or says everything that is wrong,
//! [`snapshot::build`] keeps each upstream that did not change, [`app::App::apply`] binds new listeners, swaps, and ends
//! those that are gone. A request that has begun goes on with the snapshot that it holds.
//!
//! # From the first call to the last
//!
//! [`app::App::warm`] ends when calls would find their way; then the application is started, if it is a child of ours, and
//! readiness begins. At the end callers leave first ([`app::App::drain`]), the application is told then, its own calls are
//! served until it has exited, and [`app::App::close`] gives up the ports and finishes what is under way. [`worker::Phase`]
//! says how far that is; `outrigger run --help` tells it to operators, `outrigger wait` and `outrigger drain` to hooks.

pub mod admin;
pub mod app;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod demo;
pub mod downstream;
pub mod http1;
pub mod http2;
pub mod message;
pub mod pipeline;
pub mod policy;
pub mod reload;
pub mod snapshot;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod worker;
