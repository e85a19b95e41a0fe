;; It imports raw sockets, which nobody is granted.
;; verdict: refused raw sockets
;; world: import wasi:sockets/instance-network@0.2.6;
(import "wasi:sockets/instance-network@0.2.6" "instance-network" (func $network (result i32)))
