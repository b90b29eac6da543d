//! Peers that are hostile and hosts that are in trouble, against both programs: faults F44 to F59 and
//! inputs X28 to X46 of the catalogue, as far as they are of a whole program.

mod stage;
mod listener;
mod routes;
mod answers;
mod descriptors;
mod logs;
mod privileges;
mod names;
mod packets;
mod herd;
mod offline;
mod certificates;
mod secrets;
mod canaries;
