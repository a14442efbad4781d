package tenant

// seed is a bug on purpose. A build with the tag "seed" has the one that the environment's ATOLL_SEED names; every
// other build has none, and no code for any. TestSeededBugs in integration/ requires that a test fails with each.
type seed string

const (
	noSeed seed = ""

	seedViewNoSync  seed = "tenant/viewnosync"  // a change is written without an fsync
	seedKeepRevoked seed = "tenant/keeprevoked" // a grant outlives its token
	seedViewEarly   seed = "tenant/viewearly"   // a view is current before it is on the disk
)
