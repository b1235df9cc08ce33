//! How does a scenario get a sidecar? As a value of the library, on the scenario's own thread and clock.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use outrigger::app::App;
use outrigger_config::{Source, parse};

use super::service::answering;
use crate::support::draft::Draft;
use crate::support::free_addr;
use crate::support::peer::Message;
use crate::support::rig::{count, whole};

/// A running sidecar. It listens as long as the value lives; its connections last until they or the scenario end.
pub struct Sidecar {
    /// Where the application calls out.
    pub outbound: SocketAddr,
    /// Where others call the application.
    pub inbound: SocketAddr,
    head: String,
    app: RefCell<App>,
}

impl Sidecar {
    /// Beside this application, with these documents.
    pub fn beside(application: SocketAddr, documents: &[String]) -> Self {
        // Ports are chosen before they are bound, so somebody else may be faster.
        let started = (0..5).find_map(|_| Self::attempt(application, documents).ok());
        started.expect("a sidecar starts")
    }

    /// Beside a service of its own, which answers each request as `answer` does, told where it may call out.
    pub fn of_service<F>(documents: &[String], answer: impl Fn(SocketAddr, Message) -> F + 'static) -> Self
    where
        F: Future<Output = Draft> + 'static,
    {
        let outbound = Rc::new(Cell::new(None));
        let there = Rc::clone(&outbound);
        let called = "nobody calls before the sidecar runs";
        let service = answering(move |request| answer(there.get().expect(called), request));
        let sidecar = Self::beside(service, documents);
        outbound.set(Some(sidecar.outbound));
        sidecar
    }

    fn attempt(application: SocketAddr, documents: &[String]) -> Result<Self, outrigger::app::AppError> {
        let [outbound, inbound] = [(); 2].map(|()| free_addr());
        let port = inbound.port();
        let head = format!(
            "apiVersion: outrigger/v1\nkind: Sidecar\nname: inside\n\
             inbound: [{{port: {port}, listen: {inbound}, forwardTo: {application}}}]\n\
             outbound: {{listen: {outbound}}}\n"
        );
        let app = App::start_here(config(whole(&head, documents)), Box::new(io::sink()))?;
        Ok(Self { outbound, inbound, head, app: RefCell::new(app) })
    }

    /// The next generation, with these documents instead; its number.
    pub fn reload(&self, documents: &[String]) -> u64 {
        let next = config(whole(&self.head, documents));
        self.app.borrow_mut().apply(next).expect("it has its ports already")
    }

    /// The sum of all series of a family (named without prefix) that bear these labels.
    pub fn metric(&self, family: &str, labels: &[(&str, &str)]) -> u64 {
        count(&self.app.borrow().shared.metrics.render().1, family, labels)
    }
}

fn config(text: String) -> outrigger_config::model::Config {
    parse(&[Source { name: "policy.yaml".to_owned(), text }]).unwrap_or_else(|errors| panic!("{errors}"))
}
