//! The agent as people run it: the program `veilleur-agent`, its configuration, its pages.

mod stage;
mod life;
mod lifecycle;
mod host;
mod local;
mod services;
mod told;
mod pushed;
mod plugins;
mod prometheus;
mod probe;
mod blackbox;
mod blackbox_websocket;
mod seams;
mod disguises;
mod uplink;
mod uplink_outputs;
mod uplink_receivers;
mod faults;
mod web;
mod nrpe;
mod schema;
mod order;
mod import;
