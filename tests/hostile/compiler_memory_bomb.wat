;; One function that a compiler needs much memory for.
;; verdict: refused takes more than 64 MiB of memory to compile
;; limits: compile-memory=64MiB
(func $bomb (param $a i32) (param $b i32) (result i32)
;; repeat 60000: (if (i32.lt_u (local.get $a) (local.get $b)) (then (local.set $a (i32.mul (local.get $b) (i32.add (local.get $a) (i32.const 7))))) (else (local.set $b (i32.xor (local.get $a) (local.get $b)))))
(local.get $a))
