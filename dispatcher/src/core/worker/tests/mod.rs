//! One test per sequence of the delivery protocol, and a property test over random ones.
