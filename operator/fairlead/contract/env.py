"""Names that a pod finds in its environment and file system, its exit codes and its ports."""

from __future__ import annotations

INPUT_FILE = "FAIRLEAD_INPUT"  # path of the JSON input document
INPUT_MOUNT = "/etc/fairlead/input"  # downwardAPI volume of the pod annotation `fairlead.dev/input`
INPUT_PATH = INPUT_MOUNT + "/input.json"
JOB_NAME = "FAIRLEAD_JOB_NAME"  # the Job's own name; a CronJob's ends in its scheduled minute since 1970
POD_UID = "FAIRLEAD_POD_UID"
POD_NAME = "FAIRLEAD_POD_NAME"
IMAGE = "FAIRLEAD_IMAGE"  # the image this pod runs, for lineage
CPU_LIMIT = "FAIRLEAD_CPU_LIMIT"  # whole CPUs, rounded up; sizes thread pools
WORK_DIR = "FAIRLEAD_WORK_DIR"  # the writable emptyDir; default /tmp

# The Secret `fairlead-store` as environment: variable -> key in the Secret, required?
STORE_SECRET = "fairlead-store"
STORE_ENV: dict[str, tuple[str, bool]] = {
    "FAIRLEAD_STORE_ENDPOINT": ("endpoint", True),  # http://host:port or https://host:port
    "FAIRLEAD_STORE_BUCKET": ("bucket", True),
    "FAIRLEAD_STORE_PREFIX": ("prefix", False),
    "FAIRLEAD_STORE_ACCESS_KEY": ("accessKey", True),
    "FAIRLEAD_STORE_SECRET_KEY": ("secretKey", True),
    "FAIRLEAD_STORE_REGION": ("region", False),
    "FAIRLEAD_STORE_CA": ("ca.crt", False),  # PEM text
}
# The Secret of an s3 source has the same keys (bucket and prefix come from its uri).
SOURCE_ENV: dict[str, tuple[str, bool]] = {
    "FAIRLEAD_SOURCE_ENDPOINT": ("endpoint", True),
    "FAIRLEAD_SOURCE_ACCESS_KEY": ("accessKey", True),
    "FAIRLEAD_SOURCE_SECRET_KEY": ("secretKey", True),
    "FAIRLEAD_SOURCE_REGION": ("region", False),
    "FAIRLEAD_SOURCE_CA": ("ca.crt", False),
}
SOURCE_CONFIG_MAP_DIR = "/var/lib/fairlead/source/configmap"
SOURCE_VOLUME_DIR = "/var/lib/fairlead/source/volume"

# A container trainer's view (SageMaker's contract).
ML_DIR = "/opt/ml"

EXIT_OK = 0  # done; a failed check or found drift is a result, not a failure
EXIT_BAD_INPUT = 10  # terminal; the message is for the user
EXIT_STORE = 20  # store or network; tried again a bounded number of times

PROGRESS_PREFIX = "FAIRLEAD "  # a stdout line `FAIRLEAD {json}` is progress
TERMINATION_LOG = "/dev/termination-log"
SUMMARY_MAX_BYTES = 3072

PORT_HTTP = 8080  # predictions over REST: with PORT_GRPC the only port on the public route
PORT_GRPC = 9000  # the same predictions over gRPC
PORT_CONTROL = 8081  # /arm, /healthz, /readyz, /feedback
PORT_METRICS = 9090
# Of the proxy beside a user's own server, which may have any port but these: 8080 and 8081 are the usual ones.
PROXY_PORT_HTTP = 15080
PROXY_PORT_CONTROL = 15081
PROXY_PORT_DRAIN = 15082  # the hook that holds the user's server until no request needs it
PROXY_PORT_METRICS = 15090
PROXY_PORTS = (PROXY_PORT_HTTP, PROXY_PORT_CONTROL, PROXY_PORT_DRAIN, PROXY_PORT_METRICS)
MODELS_DIR = "/mnt/models"  # where a user's own server finds the model's files
DRAIN_PATH = "FAIRLEAD_DRAIN_PATH"  # of the hook; who cannot read the pod's spec does not know it

HEADER_MODEL_VERSION = "x-fairlead-model-version"
HEADER_MODEL_DIGEST = "x-fairlead-model-digest"
HEADER_STICKY = "x-fairlead-sticky"  # of a request, set by the route: the path that the cookie is for
COOKIE_ARM = "fairlead-arm"  # the first 10 digits of the revision that a user keeps
HEADER_REVISION = "x-fairlead-revision"
HEADER_RESPONSE_ID = "x-fairlead-response-id"
HEADER_REPLAY = "x-fairlead-replay"  # carries a token that only who holds the store's secret can make
PATH_REPLAY = "/replay"  # of the public port: predicts, and neither counts nor captures
