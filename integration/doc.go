// Package integration holds the black-box tests of Atoll, which start the real program and speak to
// it as its users do, and the tests that hold the house together: which package may import which,
// how long a file and a function may be, what no file may contain.
package integration
