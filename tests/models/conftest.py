"""What every network must be able to do."""

import keras
import numpy as np
import pytest


@pytest.fixture
def check_learning_by_heart(tmp_path):
    """Return a function that has a model learn 16 clips of 7 classes, stores it and loads it."""

    def check(model, inputs, learning_rate):
        y_true = np.arange(16) % 7
        optimizer = keras.optimizers.Adam(learning_rate)
        model.compile(optimizer, "categorical_crossentropy", jit_compile=False)
        for _ in range(20):
            for _ in range(10):
                model.train_on_batch(inputs, np.eye(7)[y_true])
            y_prob = model.predict_on_batch(inputs)
            if (y_prob.argmax(axis=1) == y_true).all():
                break
        assert (y_prob.argmax(axis=1) == y_true).all()
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
        np.testing.assert_array_equal(again.predict_on_batch(inputs), y_prob)

    return check
