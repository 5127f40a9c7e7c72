"""The behaviours of tf_keras's own shim tests, on Keras 3 layers and models and on `tf.Module`.

tf_keras 2.x tests its shim by 58 tests (variable_scope_shim_test.py). Each docstring here names the test whose
behaviour is covered; docs/design/shim_conformance.md lists those that do not hold, and why.
"""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import lockstep
from lockstep import tf1

v1 = tf.compat.v1
X = tf.ones([5, 5])
OWNERS = [keras.layers.Layer, keras.Model, tf.Module]


def make(base, body, **members):
    """An owner whose decorated method runs `body(inputs)`, or `body()` if it takes nothing."""

    class Owner(base):
        @tf1.track_tf1_style_variables
        def call(self, inputs):
            result = body(inputs) if body.__code__.co_argcount else body()
            return inputs if result is None else result

        if base is tf.Module:
            __call__ = call

    owner = Owner()
    for name, value in members.items():
        setattr(owner, name, value)
    return owner


@pytest.fixture(params=OWNERS, ids=lambda base: base.__name__)
def base(request):
    return request.param


@pytest.fixture(params=["eager", "function"])
def run(request, base):
    """Runs code twice in a decorated method, eagerly or traced, and returns what owns its variables."""

    def run(body):
        owner = make(base, body)
        for _ in range(2):
            (owner if request.param == "eager" else tf.function(lambda x: owner(x)))(X)
        return owner

    return run


def names(owner):
    return [v.name for v in owner.variables]


def losses(owner):
    if isinstance(owner, tf.Module):
        return [loss() for loss in tf1.store_of(owner).regularizers.values()]
    return owner.losses


def value(variable):
    return float(np.array(variable))  # a Keras 3.3 variable is no number to `float`


def get(name="w", shape=(), **kwargs):
    return v1.get_variable(name, shape, **kwargs)


# --- the store


def test_the_same_name_is_the_same_object(run):
    """testGetVar"""

    def body():
        assert get("v", [1]) is get("v", [1])

    assert len(run(body).variables) == 1


def test_another_name_is_another_object(run):
    """testNameExists"""

    def body():
        assert get("v", [1]) is get("v", [1])
        assert get("u", [1]) is not get("v", [1])

    assert sorted(names(run(body))) == ["u:0", "v:0"]


def test_a_store_of_its_own_holds_variables_by_name():
    """testNamelessStore"""
    store = tf1.VariableStore()
    with store.scope():
        get("v1", [2])
        get("v2", [2])
    assert [v.name for v in store.variables] == ["v1:0", "v2:0"]


def test_a_scope_gives_its_initializer_also_when_entered_again(run):
    """testVarScopeInitializer"""
    initializer = v1.constant_initializer(0.3)

    def body():
        with v1.variable_scope("tower") as tower:
            with v1.variable_scope("foo", initializer=initializer):
                get("v")
            with v1.variable_scope(tower, initializer=initializer):
                get("w")

    assert [(v.name, value(v)) for v in run(body).variables] == [
        ("tower/foo/v:0", pytest.approx(0.3)),
        ("tower/w:0", pytest.approx(0.3)),
    ]


def test_a_scope_gives_its_constraint(run):
    """testVarScopeConstraint"""

    def body():
        with v1.variable_scope("tower") as tower:
            with v1.variable_scope("foo", constraint=lambda x: 0.0 * x):
                assert get("v").constraint is not None
            with v1.variable_scope(tower, constraint=lambda x: 0.0 * x):
                assert get("w").constraint is not None
            assert get("free").constraint is None

    owner = run(body)
    assert [v.constraint is not None for v in owner.variables] == ["free" not in name for name in names(owner)]


def test_a_scope_gives_its_dtype(run):
    """testVarScopeDType"""

    def body():
        with v1.variable_scope("tower") as tower:
            with v1.variable_scope("foo", dtype=tf.float16):
                assert get("v").dtype == tf.float16
            with v1.variable_scope(tower, dtype=tf.float16):
                assert get("w").dtype == tf.float16

    assert {tf.as_dtype(v.dtype) for v in run(body).variables} == {tf.float16}


def test_a_value_that_is_no_tensor_initializes(run):
    """testInitFromNonTensorValue"""

    def body():
        v1.get_variable("four", initializer=4, dtype=tf.int32)
        v1.get_variable("range", initializer=np.array([1, 2, 3]), dtype=tf.int64)
        # As in TF 1.15 the value's own dtype counts, whatever the scope's default.
        assert v1.get_variable("untold", initializer=4).dtype == tf.int32
        assert v1.get_variable("doubles", initializer=np.ones(2)).dtype == tf.float64

    values = {v.name: np.array(v).tolist() for v in run(body).variables}
    assert values == {"four:0": 4, "range:0": [1, 2, 3], "untold:0": 4, "doubles:0": [1.0, 1.0]}
    with pytest.raises((ValueError, TypeError)):
        run(lambda: v1.get_variable("x", initializer={}) and None)


@pytest.mark.parametrize(
    "dtype", [tf.int8, tf.uint8, tf.int16, tf.uint16, tf.int32, tf.int64, tf.bool, tf.string], ids=lambda d: d.name
)
def test_what_is_no_float_starts_at_zero(base, dtype):
    """testInitFromNonInitializer"""

    def body():
        get("v", [3, 4], dtype=dtype)

    owner = make(base, body)
    owner(X)
    owner(X)
    (variable,) = owner.variables
    stored = variable if isinstance(variable, tf.Variable) else variable.value
    assert stored.dtype == dtype
    assert not np.array(stored).astype(bool).any()


def test_a_scope_gives_its_regularizer_until_told_otherwise(run):
    """testVarScopeRegularizer"""
    initializer = v1.constant_initializer(0.3)

    def body():
        with v1.variable_scope("tower", regularizer=lambda v: tf.reduce_mean(v) + 0.1) as tower:
            with v1.variable_scope("foo", initializer=initializer):
                get("v")
            with v1.variable_scope(tower, initializer=initializer) as scope:
                get("u")
                scope.set_regularizer(lambda v: tf.reduce_mean(v) + 0.2)
                get("w")
                get("x", regularizer=v1.no_regularizer)
                with v1.variable_scope("baz", regularizer=v1.no_regularizer):
                    get("y")
                scope.set_regularizer(v1.no_regularizer)
                get("z")

    owner = run(body)
    assert len(owner.variables) == 6
    np.testing.assert_allclose(sorted(float(loss) for loss in losses(owner)), [0.4, 0.4, 0.5], rtol=1e-6)


def test_a_constant_initializes_and_takes_no_shape(run):
    """testInitializeFromValue"""
    constant = tf.constant(0.1)

    def body():
        assert v1.get_variable("v", initializer=constant).dtype == tf.float32
        with pytest.raises(ValueError, match="shape"):
            get("u", [1], initializer=constant)
        with v1.variable_scope("foo", initializer=constant):
            v1.get_variable("v")
        assert v1.get_variable("t", initializer=tf.constant(1)).dtype == tf.int32
        with pytest.raises(ValueError, match="don't match"):
            v1.get_variable("s", initializer=tf.constant(1), dtype=tf.float64)

    owner = run(body)
    assert {v.name: value(v) for v in owner.variables} == pytest.approx({"v:0": 0.1, "foo/v:0": 0.1, "t:0": 1})


def test_auto_reuse_makes_once_and_finds_afterwards(run):
    """testVarScopeGetOrCreateReuse"""

    def body():
        for _ in range(2):
            with v1.variable_scope("bar", reuse=v1.AUTO_REUSE):
                v1.assign(get("var"), 42.0)

    (variable,) = run(body).variables
    assert value(variable) == 42.0


def test_reuse_false_finds_too_because_the_code_runs_again_at_every_call(run):
    """testVarScopeGetOrCreateReuseIgnoreFalse"""

    def body():
        for _ in range(2):
            with v1.variable_scope("bar", reuse=False):
                get("var")

    assert names(run(body)) == ["bar/var:0"]


# --- scopes


def test_a_default_name_counts_up_and_a_given_one_does_not(run):
    """testVarOpScope"""

    def body():
        with tf.name_scope("one"), v1.variable_scope("tower", "default", []):
            assert get().name == "tower/w:0"
        with tf.name_scope("two"):
            for expected in ("default/w:0", "default_1/w:0"):
                with v1.variable_scope(None, "default", []):
                    assert get().name == expected

    assert len(run(body).variables) == 3


def test_default_names_that_begin_alike_count_apart(run):
    """testVarOpScopeUniqueNamesInterleavedSubstringScopes"""
    wanted = [("one1", "one1"), ("one1", "one1_1"), ("one", "one"), ("one1", "one1_2")]

    def body():
        for default, expected in wanted:
            with v1.variable_scope(None, default), v1.variable_scope(None, "layer"):
                assert get().name == f"{expected}/layer/w:0"

    run(body)


def test_counting_goes_on_after_a_jump_into_the_own_scope(run):
    """testVarOpScopeUniqueNamesWithJump"""

    def body():
        with v1.variable_scope("default") as default:
            for number, expected in enumerate(("layer", "layer_1", "layer_2")):
                if number == 2:
                    with v1.variable_scope(default):
                        pass
                with v1.variable_scope(None, "layer"):
                    assert get().name == f"default/{expected}/w:0"

    run(body)


@pytest.mark.parametrize("how", ["argument", "method"])
def test_default_names_start_anew_in_a_scope_entered_for_reuse(run, how):
    """testVarOpScopeReuse, testVarOpScopeReuseParam"""

    def towers():
        with v1.variable_scope("tower", "default", []):
            assert get().name == "outer/tower/w:0"
        with v1.variable_scope(None, "default", []):
            assert get().name == "outer/default/w:0"

    def body():
        with v1.variable_scope("outer") as outer:
            towers()
        with v1.variable_scope(outer, reuse=how == "argument" or None) as again:
            if how == "method":
                again.reuse_variables()
            towers()

    assert sorted(names(run(body))) == ["outer/default/w:0", "outer/tower/w:0"]


def test_get_variable_in_scopes_reused_jumped_to_and_in_conflict(run):
    """testVarScopeGetVar"""

    def body():
        with v1.variable_scope("root"):
            with v1.variable_scope("a") as tower_a:
                va = get("v", [1])
                assert va.name == "root/a/v:0"
            with v1.variable_scope(tower_a, reuse=True):
                assert get("v", [1]) is va
            with v1.variable_scope("b"):
                assert get("v", [1]).name == "root/b/v:0"
            with v1.variable_scope("a", reuse=True):
                assert get("v", [1]) is va
            with v1.variable_scope("foo"), v1.variable_scope("bar"):
                assert get("v", [1]).name == "root/foo/bar/v:0"
                with v1.variable_scope(tower_a, reuse=True):
                    assert get("v", [1]) is va
            with v1.variable_scope(tower_a, reuse=True):
                with pytest.raises(ValueError, match=r"v, but specified shape \(2,\) and found shape \(1,\)"):
                    get("v", [2])
                with pytest.raises(ValueError, match="v, but specified dtype int32 and found dtype float32"):
                    get("v", [1], dtype=tf.int32)

    assert len(run(body).variables) == 3


@pytest.mark.parametrize("default_name", [None, "default"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_scope_object_keeps_its_name_where_it_is_entered_again(run, nested, default_name):
    """testVarScopeOuterScope, testVarScopeNestedOuterScope, testVarOpScopeOuterScope, testVarOpScopeNestedOuterScope"""

    def inside(outer, reuse):
        with v1.variable_scope(outer, default_name, reuse=reuse):
            assert get().name == "outer/w:0"
            with v1.variable_scope(None, "default", []):
                assert get().name == "outer/default/w:0"
            with v1.variable_scope("named", reuse=reuse):
                assert get().name == "outer/named/w:0"

    def body():
        with v1.variable_scope("outer") as outer:
            if nested:
                inside(outer, None)
        for reuse in (None, True):
            inside(outer, reuse)

    assert len(run(body).variables) == 3


def test_reuse_needs_a_name(run):
    """testVarOpScopeReuseError"""

    def body():
        with pytest.raises(ValueError, match="reuse=True cannot be used without a name_or_scope"):  # noqa: SIM117
            with v1.variable_scope(None, "default", reuse=True):
                pass

    run(body)


def test_without_auxiliary_name_scope(run):
    """testBasicWhenAuxiliaryNameScopeIsFalse"""

    def body():
        with v1.variable_scope("scope", auxiliary_name_scope=False) as scope:
            assert get().name == "scope/w:0"
        with v1.variable_scope(scope, auxiliary_name_scope=False):
            assert get("w1").name == "scope/w1:0"
        with v1.variable_scope("outer") as outer:
            with v1.variable_scope("inner", auxiliary_name_scope=False) as inner:
                assert inner.original_name_scope == outer.original_name_scope
                assert get().name == "outer/inner/w:0"
            with v1.variable_scope(inner, auxiliary_name_scope=False) as again:
                assert again.original_name_scope == outer.original_name_scope
                assert get("w1").name == "outer/inner/w1:0"

    assert len(run(body).variables) == 4


def test_without_auxiliary_name_scope_under_a_default_name(run):
    """testCreatedByDefaultNameWhenAuxiliaryNameScopeIsFalse"""

    def body():
        with v1.variable_scope(None, default_name="default", auxiliary_name_scope=False):
            assert get().name == "default/w:0"
        with (
            v1.variable_scope("outer") as outer,
            v1.variable_scope(None, default_name="default", auxiliary_name_scope=False) as inner,
        ):
            assert inner.original_name_scope == outer.original_name_scope
            assert get().name == "outer/default/w:0"

    run(body)


def test_without_auxiliary_name_scope_in_the_root_scope(run):
    """testReenterRootScopeWhenAuxiliaryNameScopeIsFalse"""

    def body():
        root = v1.get_variable_scope()
        with v1.variable_scope(root, auxiliary_name_scope=False):
            assert get().name == "w:0"
        with v1.variable_scope("outer"), v1.variable_scope(root, auxiliary_name_scope=False) as inner:
            assert inner.original_name_scope == ""
            assert get("w1").name == "w1:0"

    run(body)


def test_auxiliary_name_scope_is_a_bool(run):
    """testAuxiliaryNameScopeIsInvalid"""

    def body():
        with v1.variable_scope("scope") as scope:
            pass
        for arguments in ((None, "scope"), ("scope",), (scope,)):
            with pytest.raises(TypeError, match="auxiliary_name_scope"):  # noqa: SIM117
                with v1.variable_scope(*arguments, auxiliary_name_scope="invalid"):
                    pass

    run(body)


def test_a_reused_scope_opens_its_original_name_scope(run):
    """testReuseScopeWithoutNameScopeCollision"""

    def body():
        with v1.variable_scope("outer"), v1.variable_scope("inner") as inner:
            pass
        with v1.variable_scope(inner, auxiliary_name_scope=False) as scope, tf.name_scope(scope.original_name_scope):
            assert get().name == "outer/inner/w:0"
        with (
            v1.variable_scope("another"),
            v1.variable_scope(inner, auxiliary_name_scope=False) as scope,
            tf.name_scope(scope.original_name_scope),
        ):
            assert get("w1").name == "outer/inner/w1:0"

    run(body)


def test_a_tf1_graph_inside_keeps_its_own_variables_and_devices():
    """testGetVarWithDevice"""
    made = []

    def device(op):
        if op.type in ("VariableV2", "VarHandleOp"):
            made.append((op.name, op.get_attr("dtype")))
        return "/device:GPU:0"

    def body():
        with tf.Graph().as_default(), v1.device(device):
            get("x", [100, 200])
            v1.get_variable("y", dtype=tf.int64, initializer=np.arange(73))

    owner = make(keras.layers.Layer, body)
    owner(X)
    assert made == [("x", tf.float32), ("y", tf.int64)]
    assert owner.variables == []


def test_the_dtype_of_a_variable_is_a_dtype(run):
    """testGetVariableWithRefDtype"""

    def body():
        get("w", [5, 6], dtype=get("v", [3, 4], dtype=tf.float32).dtype)
        get("x", [1], dtype="float64")
        get("y", [1], dtype=np.float64)

    assert len(run(body).variables) == 4


@pytest.mark.parametrize("initializer", [lambda: [2], lambda x=True: [2]], ids=["no", "optional"])
def test_an_initializer_without_arguments_gives_the_shape(run, initializer):
    """testGetVariableWithInitializerWhichTakesNoArgs, testGetVariableWithInitializerWhichTakesOptionalArgs"""

    def body():
        assert v1.get_variable("foo", initializer=initializer).name == "foo:0"

    (variable,) = run(body).variables
    assert tuple(variable.shape) == (1,)


def test_an_impossible_root_scope_is_refused_in_a_graph_of_its_own():
    """testTwoGraphs"""

    def body():
        with tf.Graph().as_default(), tf.Graph().as_default(), v1.variable_scope("_"):
            pass

    with pytest.raises(ValueError, match=r"'_' is not a valid (?:root )?scope name"):
        make(tf.Module, body)(X)


# --- custom getters and creators


def test_a_getter_that_cannot_be_called_is_refused(run):
    """testNonCallableGetterFails"""

    def body():
        with pytest.raises(ValueError, match=r"custom_getter .* not callable:"):  # noqa: SIM117
            with v1.variable_scope("scope", custom_getter=3):
                v1.get_variable("name")
        with pytest.raises(ValueError, match=r"custom_getter .* not callable:"):
            v1.get_variable("name", custom_getter=3)

    run(body)


def test_a_getter_that_passes_on_changes_nothing(base):
    """testNoSideEffectsWithIdentityCustomGetter"""
    called = []

    def getter(getter, *args, **kwargs):
        called.append(kwargs["name"])
        return getter(*args, **kwargs)

    def body():
        with v1.variable_scope("scope", custom_getter=getter) as scope:
            v = get("v", [1])
        with v1.variable_scope(scope, reuse=True):
            assert get("v", [1]) is v
        with v1.variable_scope("new") as new:
            v3 = get("v3", [1])
        with v1.variable_scope(new, reuse=True, custom_getter=getter):
            assert get("v3", [1]) is v3

    make(base, body)(X)
    assert called == ["scope/v", "scope/v", "new/v3"]


def test_a_getter_is_told_synchronization_and_aggregation(base):
    """testSynchronizationAndAggregationWithCustomGetter"""
    told = []

    def getter(getter, *args, **kwargs):
        told.append((kwargs["synchronization"], kwargs["aggregation"]))
        return getter(*args, **kwargs)

    on_read = tf.VariableSynchronization.ON_READ, v1.VariableAggregation.MEAN

    def body():
        with v1.variable_scope("scope", custom_getter=getter):
            get("v", [1])
            assert not get("v1", [1], synchronization=on_read[0], aggregation=on_read[1]).trainable

    owner = make(base, body)
    owner(X)
    assert told == [(tf.VariableSynchronization.AUTO, v1.VariableAggregation.NONE), on_read]
    assert [v.name for v in owner.trainable_variables] == ["scope/v:0"]


def test_variable_creators_see_what_get_variable_makes(run):
    """testVariableCreator"""
    seen = []

    def note(next_creator, **kwargs):
        seen.append((kwargs["name"], kwargs["synchronization"], kwargs["aggregation"]))
        return next_creator(**kwargs)

    how = {"synchronization": tf.VariableSynchronization.ON_WRITE, "aggregation": v1.VariableAggregation.MEAN}

    def body():
        with tf.variable_creator_scope(note):
            get("v", **how)

    run(body)
    assert seen[0][0] == "v"
    assert [aggregation for _, _, aggregation in seen] == [how["aggregation"]]


def test_creator_scopes_left_in_the_wrong_order_are_an_error(base):
    """testVariableCreatorNestingError"""

    def creator(next_creator, **kwargs):
        return next_creator(**kwargs)

    def body():
        graph = v1.get_default_graph()
        before = graph._variable_creator_stack
        try:
            scope = tf.variable_creator_scope(creator)
            scope.__enter__()
            with tf.variable_creator_scope(creator), pytest.raises(RuntimeError):
                scope.__exit__(None, None, None)
        finally:
            graph._variable_creator_stack = before

    make(base, body)(X)


# --- threads


def test_another_thread_enters_a_scope_of_the_main_one():
    """testReenterMainScope"""
    found = []
    stores = {"main": tf1.VariableStore(), "thread": tf1.VariableStore()}

    def work(scope):
        with stores["thread"].scope():
            with v1.variable_scope(scope), v1.variable_scope("foo"):
                found.append(get("v").name)
            with v1.variable_scope("bar"):
                found.append(get("v").name)

    with stores["main"].scope(), v1.variable_scope("main") as scope:
        thread = threading.Thread(target=work, args=(scope,))
        thread.start()
        thread.join()
        get("own")
    assert found == ["main/foo/v:0", "bar/v:0"]
    assert [v.name for v in stores["main"].variables] == ["main/own:0"]


# --- layers and modules

DENSE_NAMES = {"one/bias:0", "one/kernel:0", "nested/two/bias:0", "nested/two/kernel:0"}


def dense_by_variables(x):
    for scope in ("one", "nested/two"):
        with v1.variable_scope(scope):
            kernel = get(
                "kernel",
                [x.shape[-1], 10],
                regularizer=lambda v: 0.02 * tf.nn.l2_loss(v),
                initializer=v1.ones_initializer(),
            )
            bias = get("bias", [10], initializer=v1.zeros_initializer())
            x = tf.nn.bias_add(tf.matmul(x, kernel), bias)
    return x


def dense_by_layers(x):
    arguments = {"kernel_initializer": v1.ones_initializer(), "kernel_regularizer": "l2"}
    x = tf1.layers.dense(x, 10, name="one", **arguments)
    with v1.variable_scope("nested"):
        return tf1.layers.dense(x, 10, name="two", **arguments)


@pytest.mark.parametrize("dense", [dense_by_variables, dense_by_layers])
def test_variables_losses_and_outputs_of_two_dense_layers(base, dense):
    """test_get_variable, test_compat_v1_layer, test_module_get_variable, test_module_compat_v1_layer"""
    owner = make(base, dense)
    assert_dense_works(owner, losses)


def assert_dense_works(owner, losses):
    np.testing.assert_array_equal(owner(X), np.full((5, 10), 50.0))
    weights = {v.name: v for v in owner.variables}
    assert weights.keys() == DENSE_NAMES
    assert float(tf.add_n(losses(owner))) == pytest.approx(1.5)
    weights["one/kernel:0"].assign(np.full((5, 10), 2.0))
    weights["nested/two/kernel:0"].assign(np.full((10, 10), 2.0))
    np.testing.assert_array_equal(owner(X), np.full((5, 10), 200.0))
    assert float(tf.add_n(losses(owner))) == pytest.approx(6)
    assert len(owner.variables) == 4


def test_a_store_held_by_a_module_needs_no_decorator():
    """test_variable_store_scope_get_variable"""

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.store = tf1.VariableStore()

        def __call__(self, x):
            with self.store.scope():
                return dense_by_variables(x)

        @property
        def variables(self):
            return self.store.variables

    assert_dense_works(Module(), lambda module: [loss() for loss in module.store.regularizers.values()])


def test_export_alone_and_in_a_functional_model(tmp_path):
    """test_shim_exporting"""
    layer = make(keras.layers.Layer, dense_by_layers)
    inputs = keras.Input(batch_shape=(5, 5))
    model = keras.Model(inputs, layer(inputs))
    model.export(tmp_path / "model")
    archive = keras.export.ExportArchive()
    archive.track(layer)
    archive.add_endpoint("serve", layer, input_signature=[tf.TensorSpec([5, 5])])
    archive.write_out(tmp_path / "layer")
    for name in ("model", "layer"):
        loaded = tf.saved_model.load(tmp_path / name)
        np.testing.assert_array_equal(loaded.serve(X), layer(X))


@pytest.mark.parametrize("outer", [keras.layers.Layer, tf.Module])
@pytest.mark.parametrize("inner", [keras.layers.Layer, tf.Module])
def test_nested_owners_count_each_variable_and_loss_once(outer, inner):
    """test_shim_nesting"""

    def dense(scope, units):
        def body(x):
            with v1.variable_scope(scope):
                kernel = get(
                    "kernel", [x.shape[-1], units], initializer=v1.ones_initializer(), regularizer=tf.reduce_sum
                )
                bias = get("bias", [units], initializer=v1.zeros_initializer())
            return tf.matmul(x, kernel) + bias

        return body

    class Outer(outer):
        def __init__(self):
            super().__init__()
            self.a = self.b = None

        @tf1.track_tf1_style_variables
        def call(self, x):
            # As the guide repairs it: the inner ones are made by the first call.
            if self.a is None:
                self.a = make(inner, dense("one", 10))
                self.b = make(inner, dense("two", 5))
            return self.b(self.a(x))

        if outer is tf.Module:
            __call__ = call

    owner = Outer()
    x = tf.ones([1, 3])
    np.testing.assert_array_equal(owner(x), np.full((1, 5), 30.0))
    weights = {v.name: v for v in owner.variables}
    assert len(owner.variables) == len(owner.trainable_variables) == 4
    assert sorted(names(owner.a)) == ["one/bias:0", "one/kernel:0"]
    assert sorted(names(owner.b)) == ["two/bias:0", "two/kernel:0"]
    if outer is keras.layers.Layer:
        assert weights.keys() == {"one/kernel:0", "one/bias:0", "two/kernel:0", "two/bias:0"}
        assert float(tf.add_n(owner.losses)) == 80
    assert float(tf.add_n(losses(owner.a))) == 30
    assert float(tf.add_n(losses(owner.b))) == 50
    weights["one/kernel:0"].assign(np.full((3, 10), 2.0))
    weights["two/kernel:0"].assign(np.full((10, 5), 2.0))
    np.testing.assert_array_equal(owner(x), np.full((1, 5), 120.0))
    assert float(tf.add_n(losses(owner.a))) == 60
    assert len(owner.variables) == 4


class Template(keras.layers.Layer):
    def __init__(self):
        super().__init__()

        def scale(x, name):
            return x * get(name, regularizer=tf.square, initializer=v1.constant_initializer(1.5))

        self.scale = v1.make_template("scale", scale, name="y")

    @tf1.track_tf1_style_variables
    def call(self, x):
        with v1.variable_scope("foo"):
            return self.scale(x)


@pytest.mark.parametrize("where", ["eager", "function", "made in the trace"])
def test_a_template_makes_its_variables_once(where):
    """test_compat_v1_make_template_in_shim_eager, ..._tf_function, ..._in_trace_in_shim"""
    made = {} if where == "made in the trace" else {"layer": Template()}

    def step(x):
        if not made:
            made["layer"] = Template()
        return made["layer"](x), tf.add_n(made["layer"].losses)

    function = step if where == "eager" else tf.function(step)
    for _ in range(3):
        output, loss = function(X)
        np.testing.assert_array_equal(output, np.full((5, 5), 1.5))
        assert float(loss) == 2.25
    assert {v.name: value(v) for v in made["layer"].weights} == {"foo/scale/y:0": 1.5}


@pytest.mark.parametrize("mode", ["eager", "function"])
def test_templates_made_in_the_method_are_the_same_at_every_call(base, mode):
    def body(x):
        first = v1.make_template("t", lambda: get())
        second = v1.make_template("t", lambda: v1.make_template("inner", lambda: get())())
        assert first() is first()
        assert second() is second()
        assert first() is not second()
        return x

    owner = make(base, body)
    for _ in range(3):
        (owner if mode == "eager" else tf.function(lambda x: owner(x)))(X)
    assert sorted(names(owner)) == ["t/w:0", "t_1/inner/w:0"]


def test_only_what_get_variable_makes_is_tracked():
    """test_only_track_get_variable"""

    def body(x):
        dense = keras.layers.Dense(10, kernel_initializer="ones", kernel_regularizer="l2")
        tf.Variable(1.0)
        v1.Variable(1.0, use_resource=True)
        return dense(x)

    layer = make(keras.layers.Layer, body)
    np.testing.assert_array_equal(layer(X), np.full((5, 10), 5.0))
    assert layer.weights == []


@pytest.mark.parametrize("base", [keras.layers.Layer, tf.Module])
def test_a_keras_model_made_in_the_method_and_kept_in_an_attribute(base):
    """test_embedded_keras_model, test_embedded_keras_model_in_module"""

    class Owner(base):
        def __init__(self):
            super().__init__()
            self.model = None

        @tf1.track_tf1_style_variables
        def __call__(self, x):
            if self.model is None:
                inputs = keras.Input(batch_shape=(5, 5))
                dense = keras.layers.Dense(10, kernel_initializer="ones", kernel_regularizer="l2")
                self.model = keras.Model(inputs, dense(inputs))
            return self.model(x)

    owner = Owner()
    np.testing.assert_array_equal(owner(X), np.full((5, 10), 5.0))
    assert len(owner.variables) == 2
    kernel = next(v for v in owner.variables if v.shape.rank == 2) if base is tf.Module else owner.variables[0]
    kernel.assign(np.full((5, 10), 2.0))
    np.testing.assert_array_equal(owner(X), np.full((5, 10), 10.0))
    if base is tf.Module:  # as with tf_keras: a module has the losses of get_variable and get_or_create_layer alone
        assert losses(owner) == []
    else:
        assert float(tf.add_n(owner.losses)) == pytest.approx(2)


def test_keras_hands_training_on():
    """test_training_arg"""

    class Owner(keras.layers.Layer):
        @tf1.track_tf1_style_variables
        def call(self, x, training=None):
            return tf1.layers.dense(x, 3, name="training" if training else "inference")

    for arguments, expected in (({"training": True}, "training"), ({}, "inference")):
        layer = Owner()
        layer(X, **arguments)
        assert set(names(layer)) == {f"{expected}/kernel:0", f"{expected}/bias:0"}


def test_a_plain_function_is_refused_when_it_is_called():
    """test_incorrect_decoration"""

    @tf1.track_tf1_style_variables
    def plain(x):
        return x

    for error in (ValueError, TypeError, lockstep.LockstepError):
        with pytest.raises(error, match="does not extend a Keras layer"):
            plain(X)
    with pytest.raises(TypeError, match="without a first positional argument"):
        plain()


# --- get_or_create_layer


def nested_model(regularizer=None):
    inputs = keras.Input((5, 5))
    dense = keras.layers.Dense(10, kernel_initializer="ones", kernel_regularizer=regularizer)
    return keras.Model(inputs, dense(inputs))


@pytest.mark.parametrize(("regularizer", "expected"), [("l2", 0.5), (None, 0)])
def test_get_or_create_layer_makes_one_model(base, regularizer, expected):
    """test_get_or_create_layer_with_regularizer_eager, test_get_or_create_layer_no_regularizer_eager"""

    def body(x):
        with v1.variable_scope("scope"):
            return tf1.get_or_create_layer("model", lambda: nested_model(regularizer))(x)

    owner = make(base, body)
    x = tf.ones([1, 5, 5])
    np.testing.assert_array_equal(owner(x), np.full((1, 5, 10), 5.0))
    model = tf1.store_of(owner).layers["scope/model"]
    np.testing.assert_array_equal(owner(x), np.full((1, 5, 10), 5.0))
    assert tf1.store_of(owner).layers == {"scope/model": model}
    assert len(owner.variables) == 2
    assert len(losses(owner)) == bool(expected)
    assert sum(float(loss) for loss in losses(owner)) == pytest.approx(expected)


def test_get_or_create_layer_in_a_function(base):
    """test_get_or_create_layer_tf_function"""
    owner = make(base, lambda x: tf1.get_or_create_layer("model", lambda: nested_model("l2"))(x))

    @tf.function
    def step(x):
        return owner(x), tf.add_n(losses(owner))

    first, second = step(tf.ones([1, 5, 5])), step(tf.ones([1, 5, 5]))
    np.testing.assert_array_equal(first[0], second[0])
    assert float(first[1]) == float(second[1]) == pytest.approx(0.5)
    assert len(owner.variables) == 2


def test_get_or_create_layer_in_a_tf1_graph_makes_the_layer():
    """test_get_or_create_layer_graph"""
    with tf.Graph().as_default():
        output = tf1.get_or_create_layer("model", nested_model)(tf.ones([1, 5, 5]))
        assert len(v1.trainable_variables()) == 2
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            np.testing.assert_array_equal(session.run(output), np.full((1, 5, 10), 5.0))
