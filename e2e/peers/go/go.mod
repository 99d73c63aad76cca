// A server of HTTP by Go's own library.
module traffictrace.dev/e2e/peers/go

go 1.26.0
