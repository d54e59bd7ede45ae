//! Builders of Kubernetes objects: pure functions from spec to object, without a client. Golden files pin the result.

pub mod config;
pub mod disruption_budget;
pub mod hash;
pub mod identity;
pub(crate) mod labels;
pub(crate) mod names;
pub mod rbac;
mod render_target;
pub mod services;
pub mod stateful_set;

pub use render_target::RenderTarget;
