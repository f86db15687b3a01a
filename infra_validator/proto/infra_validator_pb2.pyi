from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ConfigFile(_message.Message):
    __slots__ = ["text", "uri"]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    text: str
    uri: str
    def __init__(self, text: _Optional[str] = ..., uri: _Optional[str] = ...) -> None: ...

class CustomPlatformConfig(_message.Message):
    __slots__ = ["config", "name"]
    CONFIG_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    config: _struct_pb2.Struct
    name: str
    def __init__(self, name: _Optional[str] = ..., config: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class DeviceRequest(_message.Message):
    __slots__ = ["capabilities", "count", "device_ids", "driver"]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_IDS_FIELD_NUMBER: _ClassVar[int]
    DRIVER_FIELD_NUMBER: _ClassVar[int]
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    count: int
    device_ids: _containers.RepeatedScalarFieldContainer[str]
    driver: str
    def __init__(self, driver: _Optional[str] = ..., count: _Optional[int] = ..., device_ids: _Optional[_Iterable[str]] = ..., capabilities: _Optional[_Iterable[str]] = ...) -> None: ...

class EnvVar(_message.Message):
    __slots__ = ["name", "value", "value_from"]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VALUE_FROM_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    value_from: EnvVarSource
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ..., value_from: _Optional[_Union[EnvVarSource, _Mapping]] = ...) -> None: ...

class EnvVarSource(_message.Message):
    __slots__ = ["secret_key_ref"]
    SECRET_KEY_REF_FIELD_NUMBER: _ClassVar[int]
    secret_key_ref: SecretKeySelector
    def __init__(self, secret_key_ref: _Optional[_Union[SecretKeySelector, _Mapping]] = ...) -> None: ...

class KubernetesConfig(_message.Message):
    __slots__ = ["active_deadline_seconds", "affinity", "client_timeout_seconds", "context", "delivery_timeout_seconds", "image_pull_policy", "image_pull_secrets", "istio_sidecar", "kubeconfig", "labels", "model_delivery", "namespace", "node_selector", "pod_patch", "priority_class_name", "pull_timeout_seconds", "reach", "runtime_class_name", "schedule_timeout_seconds", "service_account_name", "serving_pod_overrides", "start_timeout_seconds", "tolerations", "volume_mounts", "volumes"]
    class ImagePullPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = []
    class ModelDelivery(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = []
    class Reach(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = []
    class LabelsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class NodeSelectorEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ACTIVE_DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    AFFINITY_FIELD_NUMBER: _ClassVar[int]
    ALWAYS: KubernetesConfig.ImagePullPolicy
    AUTO: KubernetesConfig.ModelDelivery
    CLAIM: KubernetesConfig.ModelDelivery
    CLIENT_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    DELIVERY_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    IF_NOT_PRESENT: KubernetesConfig.ImagePullPolicy
    IMAGE_PULL_POLICY_FIELD_NUMBER: _ClassVar[int]
    IMAGE_PULL_SECRETS_FIELD_NUMBER: _ClassVar[int]
    ISTIO_SIDECAR_FIELD_NUMBER: _ClassVar[int]
    KUBECONFIG_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MODEL_DELIVERY_FIELD_NUMBER: _ClassVar[int]
    MODEL_DELIVERY_UNSPECIFIED: KubernetesConfig.ModelDelivery
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    NEVER: KubernetesConfig.ImagePullPolicy
    NODE_SELECTOR_FIELD_NUMBER: _ClassVar[int]
    POD_IP: KubernetesConfig.Reach
    POD_PATCH_FIELD_NUMBER: _ClassVar[int]
    PORT_FORWARD: KubernetesConfig.Reach
    PRIORITY_CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    PULL_POLICY_UNSPECIFIED: KubernetesConfig.ImagePullPolicy
    PULL_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    REACH_FIELD_NUMBER: _ClassVar[int]
    REACH_UNSPECIFIED: KubernetesConfig.Reach
    RUNTIME_CLASS_NAME_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SERVICE_ACCOUNT_NAME_FIELD_NUMBER: _ClassVar[int]
    SERVING_POD_OVERRIDES_FIELD_NUMBER: _ClassVar[int]
    START_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STREAM: KubernetesConfig.ModelDelivery
    TOLERATIONS_FIELD_NUMBER: _ClassVar[int]
    URI: KubernetesConfig.ModelDelivery
    VOLUMES_FIELD_NUMBER: _ClassVar[int]
    VOLUME_MOUNTS_FIELD_NUMBER: _ClassVar[int]
    active_deadline_seconds: int
    affinity: _struct_pb2.Struct
    client_timeout_seconds: int
    context: str
    delivery_timeout_seconds: int
    image_pull_policy: KubernetesConfig.ImagePullPolicy
    image_pull_secrets: _containers.RepeatedScalarFieldContainer[str]
    istio_sidecar: bool
    kubeconfig: str
    labels: _containers.ScalarMap[str, str]
    model_delivery: KubernetesConfig.ModelDelivery
    namespace: str
    node_selector: _containers.ScalarMap[str, str]
    pod_patch: _struct_pb2.Struct
    priority_class_name: str
    pull_timeout_seconds: int
    reach: KubernetesConfig.Reach
    runtime_class_name: str
    schedule_timeout_seconds: int
    service_account_name: str
    serving_pod_overrides: PodOverrides
    start_timeout_seconds: int
    tolerations: _containers.RepeatedCompositeFieldContainer[Toleration]
    volume_mounts: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Struct]
    volumes: _containers.RepeatedCompositeFieldContainer[_struct_pb2.Struct]
    def __init__(self, service_account_name: _Optional[str] = ..., active_deadline_seconds: _Optional[int] = ..., serving_pod_overrides: _Optional[_Union[PodOverrides, _Mapping]] = ..., kubeconfig: _Optional[str] = ..., context: _Optional[str] = ..., namespace: _Optional[str] = ..., image_pull_policy: _Optional[_Union[KubernetesConfig.ImagePullPolicy, str]] = ..., image_pull_secrets: _Optional[_Iterable[str]] = ..., labels: _Optional[_Mapping[str, str]] = ..., node_selector: _Optional[_Mapping[str, str]] = ..., tolerations: _Optional[_Iterable[_Union[Toleration, _Mapping]]] = ..., affinity: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., priority_class_name: _Optional[str] = ..., runtime_class_name: _Optional[str] = ..., volumes: _Optional[_Iterable[_Union[_struct_pb2.Struct, _Mapping]]] = ..., volume_mounts: _Optional[_Iterable[_Union[_struct_pb2.Struct, _Mapping]]] = ..., pod_patch: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., model_delivery: _Optional[_Union[KubernetesConfig.ModelDelivery, str]] = ..., reach: _Optional[_Union[KubernetesConfig.Reach, str]] = ..., istio_sidecar: bool = ..., schedule_timeout_seconds: _Optional[int] = ..., pull_timeout_seconds: _Optional[int] = ..., start_timeout_seconds: _Optional[int] = ..., delivery_timeout_seconds: _Optional[int] = ..., client_timeout_seconds: _Optional[int] = ...) -> None: ...

class LocalDockerConfig(_message.Message):
    __slots__ = ["allow_new_privileges", "capabilities", "client_api_version", "client_base_url", "client_timeout_seconds", "cpus", "device_requests", "host_ip_address", "memory", "model_delivery", "mounts", "network", "pids_limit", "platform", "pull_policy", "pull_timeout_seconds", "shared_memory", "ulimits", "user", "writable_root"]
    class ModelDelivery(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = []
    class PullPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = []
    ALLOW_NEW_PRIVILEGES_FIELD_NUMBER: _ClassVar[int]
    ALWAYS: LocalDockerConfig.PullPolicy
    AUTO: LocalDockerConfig.ModelDelivery
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CLIENT_API_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLIENT_BASE_URL_FIELD_NUMBER: _ClassVar[int]
    CLIENT_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COPY: LocalDockerConfig.ModelDelivery
    CPUS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    HOST_IP_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    IF_NOT_PRESENT: LocalDockerConfig.PullPolicy
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    MODEL_DELIVERY_FIELD_NUMBER: _ClassVar[int]
    MODEL_DELIVERY_UNSPECIFIED: LocalDockerConfig.ModelDelivery
    MOUNT: LocalDockerConfig.ModelDelivery
    MOUNTS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    NEVER: LocalDockerConfig.PullPolicy
    PIDS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    PLATFORM_FIELD_NUMBER: _ClassVar[int]
    PULL_POLICY_FIELD_NUMBER: _ClassVar[int]
    PULL_POLICY_UNSPECIFIED: LocalDockerConfig.PullPolicy
    PULL_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SHARED_MEMORY_FIELD_NUMBER: _ClassVar[int]
    ULIMITS_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_ROOT_FIELD_NUMBER: _ClassVar[int]
    allow_new_privileges: bool
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    client_api_version: str
    client_base_url: str
    client_timeout_seconds: int
    cpus: float
    device_requests: _containers.RepeatedCompositeFieldContainer[DeviceRequest]
    host_ip_address: str
    memory: str
    model_delivery: LocalDockerConfig.ModelDelivery
    mounts: _containers.RepeatedCompositeFieldContainer[Mount]
    network: str
    pids_limit: int
    platform: str
    pull_policy: LocalDockerConfig.PullPolicy
    pull_timeout_seconds: int
    shared_memory: str
    ulimits: _containers.RepeatedCompositeFieldContainer[Ulimit]
    user: str
    writable_root: bool
    def __init__(self, client_base_url: _Optional[str] = ..., client_api_version: _Optional[str] = ..., client_timeout_seconds: _Optional[int] = ..., host_ip_address: _Optional[str] = ..., cpus: _Optional[float] = ..., memory: _Optional[str] = ..., shared_memory: _Optional[str] = ..., ulimits: _Optional[_Iterable[_Union[Ulimit, _Mapping]]] = ..., device_requests: _Optional[_Iterable[_Union[DeviceRequest, _Mapping]]] = ..., platform: _Optional[str] = ..., network: _Optional[str] = ..., mounts: _Optional[_Iterable[_Union[Mount, _Mapping]]] = ..., pull_policy: _Optional[_Union[LocalDockerConfig.PullPolicy, str]] = ..., pull_timeout_seconds: _Optional[int] = ..., model_delivery: _Optional[_Union[LocalDockerConfig.ModelDelivery, str]] = ..., user: _Optional[str] = ..., capabilities: _Optional[_Iterable[str]] = ..., allow_new_privileges: bool = ..., writable_root: bool = ..., pids_limit: _Optional[int] = ...) -> None: ...

class LocalProcessConfig(_message.Message):
    __slots__ = ["executable"]
    EXECUTABLE_FIELD_NUMBER: _ClassVar[int]
    executable: str
    def __init__(self, executable: _Optional[str] = ...) -> None: ...

class Mount(_message.Message):
    __slots__ = ["source", "target", "writable"]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    source: str
    target: str
    writable: bool
    def __init__(self, source: _Optional[str] = ..., target: _Optional[str] = ..., writable: bool = ...) -> None: ...

class PodOverrides(_message.Message):
    __slots__ = ["annotations", "env", "resources"]
    class AnnotationsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ANNOTATIONS_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    annotations: _containers.ScalarMap[str, str]
    env: _containers.RepeatedCompositeFieldContainer[EnvVar]
    resources: Resources
    def __init__(self, annotations: _Optional[_Mapping[str, str]] = ..., env: _Optional[_Iterable[_Union[EnvVar, _Mapping]]] = ..., resources: _Optional[_Union[Resources, _Mapping]] = ...) -> None: ...

class RequestSpec(_message.Message):
    __slots__ = ["batch_sizes", "from_signature", "json_file", "keep_failed_request", "make_warmup", "max_warmup_records", "num_examples", "prediction_log_file", "split_name", "split_names", "tensorflow_serving"]
    BATCH_SIZES_FIELD_NUMBER: _ClassVar[int]
    FROM_SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    JSON_FILE_FIELD_NUMBER: _ClassVar[int]
    KEEP_FAILED_REQUEST_FIELD_NUMBER: _ClassVar[int]
    MAKE_WARMUP_FIELD_NUMBER: _ClassVar[int]
    MAX_WARMUP_RECORDS_FIELD_NUMBER: _ClassVar[int]
    NUM_EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    PREDICTION_LOG_FILE_FIELD_NUMBER: _ClassVar[int]
    SPLIT_NAMES_FIELD_NUMBER: _ClassVar[int]
    SPLIT_NAME_FIELD_NUMBER: _ClassVar[int]
    TENSORFLOW_SERVING_FIELD_NUMBER: _ClassVar[int]
    batch_sizes: _containers.RepeatedScalarFieldContainer[int]
    from_signature: bool
    json_file: str
    keep_failed_request: bool
    make_warmup: bool
    max_warmup_records: int
    num_examples: int
    prediction_log_file: str
    split_name: str
    split_names: _containers.RepeatedScalarFieldContainer[str]
    tensorflow_serving: TensorFlowServingRequestSpec
    def __init__(self, tensorflow_serving: _Optional[_Union[TensorFlowServingRequestSpec, _Mapping]] = ..., split_name: _Optional[str] = ..., num_examples: _Optional[int] = ..., make_warmup: bool = ..., split_names: _Optional[_Iterable[str]] = ..., batch_sizes: _Optional[_Iterable[int]] = ..., prediction_log_file: _Optional[str] = ..., json_file: _Optional[str] = ..., from_signature: bool = ..., keep_failed_request: bool = ..., max_warmup_records: _Optional[int] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ["claims", "limits", "requests"]
    class ClaimsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class LimitsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class RequestsEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    claims: _containers.ScalarMap[str, str]
    limits: _containers.ScalarMap[str, str]
    requests: _containers.ScalarMap[str, str]
    def __init__(self, requests: _Optional[_Mapping[str, str]] = ..., limits: _Optional[_Mapping[str, str]] = ..., claims: _Optional[_Mapping[str, str]] = ...) -> None: ...

class SecretKeySelector(_message.Message):
    __slots__ = ["key", "name"]
    KEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    key: str
    name: str
    def __init__(self, name: _Optional[str] = ..., key: _Optional[str] = ...) -> None: ...

class ServingSpec(_message.Message):
    __slots__ = ["custom_platform", "kubernetes", "local_docker", "local_process", "model_name", "tensorflow_serving"]
    CUSTOM_PLATFORM_FIELD_NUMBER: _ClassVar[int]
    KUBERNETES_FIELD_NUMBER: _ClassVar[int]
    LOCAL_DOCKER_FIELD_NUMBER: _ClassVar[int]
    LOCAL_PROCESS_FIELD_NUMBER: _ClassVar[int]
    MODEL_NAME_FIELD_NUMBER: _ClassVar[int]
    TENSORFLOW_SERVING_FIELD_NUMBER: _ClassVar[int]
    custom_platform: CustomPlatformConfig
    kubernetes: KubernetesConfig
    local_docker: LocalDockerConfig
    local_process: LocalProcessConfig
    model_name: str
    tensorflow_serving: TensorFlowServing
    def __init__(self, tensorflow_serving: _Optional[_Union[TensorFlowServing, _Mapping]] = ..., local_docker: _Optional[_Union[LocalDockerConfig, _Mapping]] = ..., kubernetes: _Optional[_Union[KubernetesConfig, _Mapping]] = ..., local_process: _Optional[_Union[LocalProcessConfig, _Mapping]] = ..., custom_platform: _Optional[_Union[CustomPlatformConfig, _Mapping]] = ..., model_name: _Optional[str] = ...) -> None: ...

class Specs(_message.Message):
    __slots__ = ["request_spec", "serving_spec", "validation_spec"]
    REQUEST_SPEC_FIELD_NUMBER: _ClassVar[int]
    SERVING_SPEC_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_SPEC_FIELD_NUMBER: _ClassVar[int]
    request_spec: RequestSpec
    serving_spec: ServingSpec
    validation_spec: ValidationSpec
    def __init__(self, serving_spec: _Optional[_Union[ServingSpec, _Mapping]] = ..., validation_spec: _Optional[_Union[ValidationSpec, _Mapping]] = ..., request_spec: _Optional[_Union[RequestSpec, _Mapping]] = ...) -> None: ...

class TensorFlowServing(_message.Message):
    __slots__ = ["args", "config_files", "digests", "env", "image_name", "tags"]
    class ConfigFilesEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: ConfigFile
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[ConfigFile, _Mapping]] = ...) -> None: ...
    class EnvEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ARGS_FIELD_NUMBER: _ClassVar[int]
    CONFIG_FILES_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    IMAGE_NAME_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    args: _containers.RepeatedScalarFieldContainer[str]
    config_files: _containers.MessageMap[str, ConfigFile]
    digests: _containers.RepeatedScalarFieldContainer[str]
    env: _containers.ScalarMap[str, str]
    image_name: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, image_name: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., digests: _Optional[_Iterable[str]] = ..., args: _Optional[_Iterable[str]] = ..., env: _Optional[_Mapping[str, str]] = ..., config_files: _Optional[_Mapping[str, ConfigFile]] = ...) -> None: ...

class TensorFlowServingRequestSpec(_message.Message):
    __slots__ = ["input_constants", "input_features", "multi_inference", "signature_names", "tag_set"]
    class InputFeaturesEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    INPUT_CONSTANTS_FIELD_NUMBER: _ClassVar[int]
    INPUT_FEATURES_FIELD_NUMBER: _ClassVar[int]
    MULTI_INFERENCE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_NAMES_FIELD_NUMBER: _ClassVar[int]
    TAG_SET_FIELD_NUMBER: _ClassVar[int]
    input_constants: _struct_pb2.Struct
    input_features: _containers.ScalarMap[str, str]
    multi_inference: bool
    signature_names: _containers.RepeatedScalarFieldContainer[str]
    tag_set: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tag_set: _Optional[_Iterable[str]] = ..., signature_names: _Optional[_Iterable[str]] = ..., input_features: _Optional[_Mapping[str, str]] = ..., input_constants: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., multi_inference: bool = ...) -> None: ...

class Toleration(_message.Message):
    __slots__ = ["effect", "key", "operator", "toleration_seconds", "value"]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    TOLERATION_SECONDS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    effect: str
    key: str
    operator: str
    toleration_seconds: int
    value: str
    def __init__(self, key: _Optional[str] = ..., operator: _Optional[str] = ..., value: _Optional[str] = ..., effect: _Optional[str] = ..., toleration_seconds: _Optional[int] = ...) -> None: ...

class Ulimit(_message.Message):
    __slots__ = ["hard", "name", "soft"]
    HARD_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SOFT_FIELD_NUMBER: _ClassVar[int]
    hard: int
    name: str
    soft: int
    def __init__(self, name: _Optional[str] = ..., soft: _Optional[int] = ..., hard: _Optional[int] = ...) -> None: ...

class ValidationSpec(_message.Message):
    __slots__ = ["fail_execution_when_undetermined", "max_loading_time_seconds", "max_parallel_requests", "max_parallel_servers", "num_tries", "request_timeout_seconds"]
    FAIL_EXECUTION_WHEN_UNDETERMINED_FIELD_NUMBER: _ClassVar[int]
    MAX_LOADING_TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_PARALLEL_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MAX_PARALLEL_SERVERS_FIELD_NUMBER: _ClassVar[int]
    NUM_TRIES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    fail_execution_when_undetermined: bool
    max_loading_time_seconds: int
    max_parallel_requests: int
    max_parallel_servers: int
    num_tries: int
    request_timeout_seconds: float
    def __init__(self, max_loading_time_seconds: _Optional[int] = ..., num_tries: _Optional[int] = ..., request_timeout_seconds: _Optional[float] = ..., max_parallel_servers: _Optional[int] = ..., fail_execution_when_undetermined: bool = ..., max_parallel_requests: _Optional[int] = ...) -> None: ...
