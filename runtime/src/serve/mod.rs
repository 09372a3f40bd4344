//! Requests to the models of a plan, from any thread, run as a policy says.
//!
//! A [`Server`] owns a thread, and sessions for each model: as many as may run at once. Requests come
//! through a bounded queue; the thread asks a [`Scheduler`](crate::schedule::Scheduler) what to start,
//! starts blocks without waiting for them, and looks for those that have ended. On a CUDA device it
//! starts and watches them itself, on the host a thread for each lane runs them. Once the server has
//! started, it allocates nothing.

mod handler;
mod mailbox;
mod measure;
mod server;
mod work;

pub use handler::{Handler, Records};
pub use server::{Server, ServerOptions, StartError};
