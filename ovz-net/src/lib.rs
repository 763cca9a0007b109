//! Attaches OpenVZ containers at start, in place of the `vznetaddbr` script.
