//! The agent as people run it: the program `veilleur-agent`, its configuration, its pages.

mod stage;
mod life;
mod host;
mod plugins;
mod prometheus;
mod uplink;
mod faults;
mod web;
mod nrpe;
