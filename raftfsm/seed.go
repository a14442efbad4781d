package raftfsm

// seed is a bug on purpose. A build with the tag "seed" has the one that the linker names in linked; every other
// build has none, and no code for any. TestSeededBugs in integration/ requires that a test fails with each.
type seed string

const (
	noSeed seed = ""

	seedAnyRevision    seed = "raftfsm/anyrevision"    // a change of a namespace ignores the revision that it expects
	seedForgetRequests seed = "raftfsm/forgetrequests" // a restored snapshot remembers no request
)
