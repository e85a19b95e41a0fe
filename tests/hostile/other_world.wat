;; It exports something, but no plugin.
;; verdict: refused exports neither
;; exports: export extra;
(func (export "test:zoo/extra#f"))
