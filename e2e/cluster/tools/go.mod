// Two small programs of the test cluster that need nothing but Go's own library.
module traffictrace.dev/e2e/tools

go 1.26.0
