//go:build seed

package tenant

import "os"

var planted = seed(os.Getenv("ATOLL_SEED"))
