//! Every kind of probe over the network against the real server: what it says when all is well, and
//! what when it is not. The servers are Debian's, each an instance of our own on a port of its own,
//! with a folder of its own.

mod stage;

mod dns;
mod tls;
mod mail;
mod ssh;
mod ntp;
mod redis;
mod icmp;
mod databases;
mod brokers;
mod directories;
mod devices;
mod mongodb;
mod websocket;
mod grpc;
mod http;
