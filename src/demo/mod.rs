//! The main job on loopback, as a person would watch it: real server, real devices, each step checked.
