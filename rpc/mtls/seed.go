package mtls

// seed is a bug on purpose. A build with the tag "seed" has the one that the environment's ATOLL_SEED names; every
// other build has none, and no code for any. TestSeededBugs in integration/ requires that a test fails with each.
type seed string

const (
	noSeed seed = ""

	seedKeepAuthority seed = "mtls/keepauthority" // an authority that was replaced stays trusted
	seedKeepOpen      seed = "mtls/keepopen"      // what was open of a replaced authority's certificates goes on
	seedAnyEndorser   seed = "mtls/anyendorser"   // an endorsement needs nobody's signature
)
