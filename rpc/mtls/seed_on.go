//go:build seed

package mtls

import "os"

var planted = seed(os.Getenv("ATOLL_SEED"))
