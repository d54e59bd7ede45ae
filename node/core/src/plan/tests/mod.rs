//! Tests of the planner: tables for what was observed, one test a rule on a toy cluster, and random disturbances.

mod fences;
mod observation;
mod random;
mod rules;
mod toy;
