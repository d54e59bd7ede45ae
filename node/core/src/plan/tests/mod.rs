//! Tests of the planner: tables of observations, one test per rule on a toy cluster, and random disturbances.

mod broken;
mod clocks;
mod divergence;
mod drain;
mod fences;
mod forming;
mod groups;
mod guard;
mod observation;
mod planner;
mod random;
mod removal;
mod replacement;
mod rules;
mod settings;
mod status;
mod storage;
mod toy;
