//go:build !race

package integration

// raceEnabled makes the programs that the tests start look for races too.
const raceEnabled = false
