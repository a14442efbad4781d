package command

// seed is a bug on purpose. A build with the tag "seed" has the one that the environment's ATOLL_SEED names; every
// other build has none, and no code for any. TestSeededBugs in integration/ requires that a test fails with each.
type seed string

const (
	noSeed seed = ""

	seedNoReserve  seed = "command/noreserve"  // runs don't know of what others are about to add
	seedStaleGrant seed = "command/stalegrant" // a common run doesn't look whether its view is the newest
	seedKeepIdle   seed = "command/keepidle"   // a session that has fallen isn't ended
	seedNobodyTold seed = "command/nobodytold" // a waiter whose run has failed isn't told
	seedNoCover    seed = "command/nocover"    // a run doesn't lock what its waiters write, and serves them all the same
	seedExecLocks  seed = "command/execlocks"  // EXEC doesn't lock what is watched
)
