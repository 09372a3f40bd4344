//! The engine of dlirc: loads a plan, checks it, runs it.
//!
//! A plan file is loaded and validated once ([`Loaded`]), bound to a machine once ([`Engine`]:
//! kernels chosen, weights packed or uploaded), and run by any number of [`Session`]s, each with
//! memory of its own. Once a session exists, running it allocates nothing. Steps for a CUDA device
//! run on one ([`cuda`]), or on the CPU ([`RunOn`]).
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//! let loaded = Arc::new(dlirc_runtime::Loaded::open("resnet50.plan")?);
//! let engine = Arc::new(dlirc_runtime::Engine::bind(loaded, &dlirc_runtime::Options::default())?);
//! let mut session = engine.session()?;
//! let model = session.plan().models[0].name.clone();
//! let id = session.model(&model)?;
//! session.input_mut(id, 0)?.fill(0);
//! session.run(id)?;
//! println!("{} bytes", session.output(id, 0)?.len());
//! # Ok(())
//! # }
//! ```

pub mod cpu;
pub mod cuda;
pub mod device;
pub mod engine;
pub mod error;
pub mod load;
mod memory;
pub mod schedule;
pub mod serve;
pub mod session;
pub mod timeline;
pub mod trace;

pub use cpu::exec::Fault;
pub use engine::{Engine, Options, RunOn};
pub use error::{BindError, During, LoadError, PortError, RunError, StepRef};
pub use load::Loaded;
pub use session::{Session, SessionOptions};
