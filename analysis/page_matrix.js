/* A matrix [J_s | J_a] of cells with names on both sides; colour(entry) and text(entry) by the entry's number. */
class Matrix {
  constructor(one, width) {
    this.one = one;
    this.rows = one.effects.length;
    this.columns = this.rows + one.actions.length;
    this.gap = 6;
    const size = (left) => Math.min(20, (width - left - this.gap - 2) / this.columns);
    const left = 8 + 6.1 * Math.max(...one.effects.map((n) => n.length));
    // Names where they can be read; else hovering tells them, and the cells have the room.
    this.names = size(left) >= 9;
    this.left = this.names ? left : 0;
    this.cell = Math.max(3, size(this.left));
    this.top = this.names ? 8 + 6.1 * Math.max(...one.effects.concat(one.actions).map((n) => n.length)) : 0;
    [this.canvas, this.context] = canvas(
      this.left + this.columns * this.cell + this.gap + 2,
      this.top + this.rows * this.cell + 2,
    );
    if (this.names) this.label();
  }
  x(column) {
    return this.left + column * this.cell + (column >= this.rows ? this.gap : 0);
  }
  entry(row, column) {
    const da = this.columns - this.rows;
    return column < this.rows ? row * this.rows + column : this.rows * this.rows + row * da + column - this.rows;
  }
  label() {
    const c = this.context,
      causes = this.one.effects.concat(this.one.actions);
    c.fillStyle = "#222";
    c.textBaseline = "middle";
    c.textAlign = "right";
    this.one.effects.forEach((name, row) => c.fillText(name + "′", this.left - 4, this.top + (row + 0.5) * this.cell));
    causes.forEach((name, column) => {
      c.save();
      c.translate(this.x(column) + this.cell / 2, this.top - 4);
      c.rotate(-Math.PI / 2);
      c.textAlign = "left";
      c.fillText(name, 0, 0);
      c.restore();
    });
  }
  draw(colour, mark = () => false) {
    const c = this.context,
      inner = this.cell > 6 ? this.cell - 0.5 : this.cell;
    for (let row = 0; row < this.rows; row++)
      for (let column = 0; column < this.columns; column++) {
        const entry = this.entry(row, column),
          x = this.x(column),
          y = this.top + row * this.cell;
        c.fillStyle = colour(entry);
        c.fillRect(x, y, inner, inner);
        if (mark(entry)) {
          c.strokeStyle = "#000";
          c.lineWidth = 1;
          c.beginPath();
          const a = this.cell * 0.3,
            b = this.cell * 0.7;
          c.moveTo(x + a, y + a);
          c.lineTo(x + b, y + b);
          c.moveTo(x + b, y + a);
          c.lineTo(x + a, y + b);
          c.stroke();
        }
      }
  }
  read(text) {
    hover(this.canvas, (x, y, box) => {
      const scale = box.width / parseFloat(this.canvas.style.width),
        px = x / scale,
        row = Math.floor((y / scale - this.top) / this.cell);
      let column = Math.floor((px - this.left) / this.cell);
      if (column >= this.rows) column = Math.max(this.rows, Math.floor((px - this.left - this.gap) / this.cell));
      if (row < 0 || row >= this.rows || column < 0 || column >= this.columns) return "";
      const cause = column < this.rows ? this.one.effects[column] : this.one.actions[column - this.rows] + " (action)";
      return `${cause} → ${this.one.effects[row]}′\n${text(this.entry(row, column))}`;
    });
  }
}
